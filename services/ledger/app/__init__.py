"""The ledger at work: one writer, its journal, its reign, what it answers and what it tells others."""
