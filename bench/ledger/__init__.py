"""`make bench-ledger`: how fast the ledger is, beside its targets and other ways to keep one."""
