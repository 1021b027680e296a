"""Blocks, transactions, deposits and withdrawals."""
