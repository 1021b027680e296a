"""The market's contract over its use cases."""
