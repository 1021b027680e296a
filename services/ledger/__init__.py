"""The ledger: satoshis and ownership titles."""
