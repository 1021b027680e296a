"""Metrics, the facts they stand on, and how facts become series. Pure and synchronous."""
