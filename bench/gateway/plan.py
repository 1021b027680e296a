"""How much is measured: everything within some ten minutes, or a little of everything within one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and times of a run."""

    # Rounds in which each gateway has its turn, the first of which only warms them up.
    rounds: int = 5
    warm_up: int = 1_000
    # CPU times are told in hundredths of a second: few requests would be told badly.
    requests: int = 2_000
    in_flight: int = 8
    sockets: tuple[int, ...] = (2_000, 5_000)
    events: int = 30
    event_every_s: float = 1.0


FULL = Plan()
QUICK = Plan(rounds=2, warm_up=240, requests=240, sockets=(200,), events=5, event_every_s=0.3)
