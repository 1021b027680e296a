"""What identity does, and what it needs for it (`ports`)."""
