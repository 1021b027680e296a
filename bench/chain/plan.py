"""How much is measured: all of it within a minute, or a little of everything within a third of one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of operations in each round."""

    payments: int = 5_000
    payouts: int = 10
    block_transactions: int = 20_000
    proofs: int = 2_000
    signatures: int = 1_000
    # Transactions that the node gets, by 1,000; and how many of them in one call.
    sent_thousands: int = 10
    batches: tuple[int, ...] = (10, 100, 1_000)


FULL = Plan()
QUICK = Plan(payments=500, payouts=2, block_transactions=2_000, proofs=200, signatures=100, sent_thousands=2)
