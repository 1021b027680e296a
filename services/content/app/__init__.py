"""What content does, and what it needs for it (`ports`)."""
