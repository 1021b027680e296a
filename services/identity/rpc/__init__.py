"""Identity's contract over its use cases."""
