"""Use cases of the chain service, and the ports they need."""
