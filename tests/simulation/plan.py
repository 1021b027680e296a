"""What a seed has in store: its instances and its mixture of faults. Each seed is another kind of day."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.simulation.network import NetworkFaults
from tests.simulation.store import StoreFaults

# A kind of fault is left out of so many seeds, so that the others are also seen without it.
LEFT_OUT = 0.3
# Those that break even leases, and with them some promises to readers, are left out of so many.
RARE = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a run that is decided before it begins. Times are mean seconds between events."""

    instances: int
    ttl_s: float
    skew_s: float
    drift: float
    crash_every_s: float
    freeze_every_s: float
    # Which part of the freezes stops the clocks as well.
    suspended: float
    cut_every_s: float
    jump_every_s: float
    outage_every_s: float
    gateway_crash_every_s: float
    store: StoreFaults
    network: NetworkFaults
    rounds: int
    viewers: int
    memes: int


NEVER_S = 1e9


def draw_plan(random: Random) -> Plan:
    """The plan of a seed."""

    def level(most: float, left_out: float = LEFT_OUT) -> float:
        return 0.0 if random.random() < left_out else random.uniform(most / 10, most)

    def every(shortest_s: float) -> float:
        return NEVER_S if random.random() < LEFT_OUT else random.uniform(shortest_s, 4 * shortest_s)

    return Plan(
        instances=random.choice((2, 3, 3)),
        ttl_s=random.choice((1.0, 2.0, 5.0)),
        skew_s=level(3.0),
        drift=level(0.04),
        crash_every_s=every(6),
        freeze_every_s=every(6),
        suspended=level(0.8, RARE),
        cut_every_s=every(10),
        jump_every_s=every(6),
        outage_every_s=every(20),
        gateway_crash_every_s=every(12),
        store=StoreFaults(
            busy=level(0.1),
            away=level(0.1),
            slow=level(0.03),
            torn=level(0.3),
            lost=level(0.08),
            done=level(0.08),
            late=level(0.08),
            forgotten=level(0.3, RARE),
        ),
        network=NetworkFaults(lost=level(0.1), slow=level(0.1), repeated=level(0.15)),
        rounds=random.choice((1, 2, 2, 3)),
        viewers=random.randint(4, 8),
        memes=random.randint(2, 6),
    )
