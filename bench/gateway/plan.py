"""How much is measured: everything within some eight minutes, or a little of everything within one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and times of a run."""

    # Rounds in which each gateway has its turn, the first of which only warms them up.
    rounds: int = 7
    warm_up: int = 1_500
    requests: int = 1_500
    in_flight: int = 8
    sockets: tuple[int, ...] = (2_000, 5_000)
    events: int = 30
    event_every_s: float = 1.0


FULL = Plan()
QUICK = Plan(rounds=2, warm_up=150, requests=150, sockets=(200,), events=5, event_every_s=0.3)
