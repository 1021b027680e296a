"""Content's calls and news, and the map between contract and domain."""
