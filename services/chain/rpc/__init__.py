"""The chain service's gRPC face."""
