"""How much is measured: everything within some five minutes, or a little of everything within one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a run."""

    # Rounds in which each way has its turn; one more, before them, only warms up.
    rounds: int = 5
    # Calls of a turn: some at once, of which CPU time is told (in hundredths of a second, so they are many),
    # then one by one, of which time is told.
    together: int = 1_600
    at_once: int = 8
    alone: int = 300


FULL = Plan()
QUICK = Plan(rounds=1, together=160, alone=40)
