"""The rules of the market: pure and synchronous."""
