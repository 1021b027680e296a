"""The outside world of the chain service: node, records, feeds, other services."""
