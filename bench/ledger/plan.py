"""How much is measured: everything within some eight minutes, or a little of everything within one."""

from __future__ import annotations

from dataclasses import dataclass

BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and times of a run."""

    users: int = 10_000
    # Calls in flight, each with the number of transfers that are ready for it.
    singles: tuple[tuple[int, int], ...] = ((1, 4_000), (8, 12_000), (64, 24_000), (512, 30_000))
    load_s_max: float = 4.0
    # In either form: together the million that is recovered.
    batches: int = 500
    batches_in_flight: int = 8
    batches_s_max: float = 30.0
    paced_per_s: int = 500
    paced_s: int = 10
    sessions: int = 50_000
    reports_at_once: int = 20
    reports_paced: int = 5
    recovered_transfers: tuple[int, ...] = (1_000_000, 10_000_000)
    # Making ten million transfers takes its time; what is there when it is over gets recovered.
    fill_s_max: float = 60.0
    idle_accounts: int = 1_000_000
    idle_s_max: float = 60.0
    peer_batches: int = 60
    postgres_clients: tuple[int, ...] = (1, 8, 64)


FULL = Plan()
QUICK = Plan(
    users=1_000,
    singles=((1, 500), (8, 1_500), (64, 3_000), (512, 4_000)),
    load_s_max=1.0,
    batches=150,
    batches_s_max=4.0,
    paced_s=3,
    sessions=2_000,
    reports_at_once=3,
    reports_paced=2,
    recovered_transfers=(50_000, 100_000),
    fill_s_max=4.0,
    idle_accounts=20_000,
    peer_batches=8,
)
