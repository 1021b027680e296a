"""Other ways to keep a ledger, under the same load."""
