"""Rules of the chain service: pure, synchronous, without I/O."""
