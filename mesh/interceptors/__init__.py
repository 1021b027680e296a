"""What the server does around every call: one small part per concern."""
