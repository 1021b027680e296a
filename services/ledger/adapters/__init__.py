"""The outside of the ledger: the record store behind its journal, the wire's forms, leases, feeds."""
