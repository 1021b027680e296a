"""Insight's contract over its use cases."""
