"""The outside world on one machine: a BSV node, Valkey, an AITubo stand-in, a miner, pictures and wallets."""
