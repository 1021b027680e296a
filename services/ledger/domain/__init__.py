"""The ledger's rules: a deterministic state machine without clock, randomness or I/O."""
