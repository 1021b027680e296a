"""The command `satreel-ledger`."""
