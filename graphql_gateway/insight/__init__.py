"""Business metrics over time."""
