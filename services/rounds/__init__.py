"""Rounds: which memes play when, how they rank, and what came of it."""
