"""Rounds' hold on the world: records, and the services it calls."""
