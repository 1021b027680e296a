"""Insight's hold on the world: records, and the streams of the other services."""
