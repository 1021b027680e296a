"""Use cases of insight: taking events in, answering with series."""
