"""What the market does, and what it needs for it (`ports`)."""
