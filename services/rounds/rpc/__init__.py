"""Rounds' contract over its use cases."""
