"""The ledger's contract: servicer, domain → proto, and who may ask what."""
