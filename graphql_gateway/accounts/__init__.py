"""People, their balances and their sessions."""
