"""Chain: the connection to Bitcoin SV, the hot wallet, and what is written there."""
