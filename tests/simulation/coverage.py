"""What must occur among a hundred seeds: a simulation in which nothing goes wrong proves nothing."""

from __future__ import annotations

from collections import Counter

SEEDS = 100
MUST_OCCUR = (
    # Machines, clocks, leases.
    "crashes of a leader", "crashes of a standby", "freezes of a leader", "suspensions of a leader",
    "instances stopped", "clock jumps", "log: leads", "log: fenced",
    "log: in doubt, reading the journal again", "acknowledged updates forgotten",
    # The store.
    "store busy", "store away", "store slow", "store outages", "in doubt, lost", "in doubt, done",
    "in doubt, late", "reads at several instants", "instances cut off",
    "instances cut off from the journal",
    # The network.
    "request lost", "request repeated", "reply lost", "reply repeated", "message slow",
    "answers given twice",
    # Clients.
    "balances read leader", "balances read anew", "balances read anywhere",
    "gateways that lost their memory", "rounds distributed", "rounds voided", "payouts", "sales",
    "offers: OK", "offers: HOLD_CLOSED", "sessions ended: CLOSED", "sessions ended: BUDGET_SPENT",
    "sessions ended: TIME_LIMIT", "sessions ended: ROUND_LOCKED", "sessions ended: ROUND_VOIDED",
    "sessions ended: SILENCE",
    # The chain.
    "reorganisations of depth 1", "reorganisations of depth 2", "reorganisations of depth 6",
    "reorganisations of depth 14", "reorganisations of depth 100", "double spends", "deposits reversed",
    "debts", "withdrawals: TRANSFER_KIND_POST_HOLD", "withdrawals: TRANSFER_KIND_VOID_HOLD",
    # What is compared.
    "snapshots taken", "snapshots killed", "snapshots that failed",
    "leaders looked at", "digests compared", "copies of old requests", "old ids refused",
    # Refusals.
    "refused: ID_REUSED", "refused: INSUFFICIENT_FUNDS", "refused: OVERFLOW", "refused: SESSION_NOT_FOUND",
    "refused: SESSION_OVERLAP", "refused: ROUND_NOT_ACTIVE", "refused: ROUND_NOT_FOUND",
    "refused: ROUND_OVERLAP", "refused: ROUND_INVALID", "refused: ROUND_VOIDED", "refused: NOT_AN_ENTRY",
    "refused: RANKING_MISMATCH", "refused: TITLE_ALREADY_ISSUED", "refused: DEPOSIT_NOT_FOUND",
    "refused: ACCOUNT_IN_DEBT",
)  # fmt: skip


def missing(counts: Counter[str]) -> list[str]:
    """What did not occur although it should have."""
    return [what for what in MUST_OCCUR if not counts[what]]
