"""The rules of identity: pure and synchronous."""
