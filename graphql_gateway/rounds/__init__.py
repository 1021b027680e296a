"""Rounds, leaderboards and results."""
