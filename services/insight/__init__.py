"""Insight: business metrics over the events of the other services."""
