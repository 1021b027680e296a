"""What a run found, and the targets it is held against."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.document import Target
from bench.ledger.load import Sample

LEDGER, TWO_UPDATES, POSTGRES = "ledger", "two updates", "PostgreSQL"
BATCHES = "batches of 1,000"
COLUMNS = "batches of 1,000 in columns"
PACED = "single transfers at a fixed pace"
AT_ONCE = "session-seconds, reports as fast as they go"
EACH_SECOND = "session-seconds, one report a second"
OPENED = "sessions opened"


def singles(in_flight: int) -> str:
    """The load's name."""
    return f"single transfers, {in_flight} in flight"


@dataclass(frozen=True, slots=True)
class Recovery:
    """A start on a journal that is there."""

    transfers: int
    seconds: float
    resident_bytes: int


@dataclass(slots=True)
class Results:
    """Samples by load and system, and the other figures as far as they were measured."""

    samples: dict[str, dict[str, Sample]] = field(default_factory=dict)
    # The first of these transfers replayed whole, without a snapshot; then each number from a snapshot.
    replayed: Recovery | None = None
    recoveries: list[Recovery] = field(default_factory=list)
    empty: Recovery | None = None
    # Accounts last used behind the horizon; accounts of which each has a transfer within it.
    idle: Recovery | None = None
    used: Recovery | None = None
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, load: str, system: str, sample: Sample) -> None:
        """Keeps a sample."""
        self.samples.setdefault(load, {})[system] = sample

    def rate(self, load: str, system: str) -> float | None:
        """Operations a second."""
        found = self.samples.get(load, {}).get(system)
        return None if found is None else found.rate

    def account_bytes(self, found: Recovery | None) -> float | None:
        """Memory of each of the many accounts."""
        if found is None or self.empty is None:
            return None
        return (found.resident_bytes - self.empty.resident_bytes) / found.transfers


def targets(results: Results) -> list[Target]:
    """The targets of the ledger."""
    batches, others = results.rate(COLUMNS, LEDGER), results.rate(BATCHES, TWO_UPDATES)
    paced = results.samples.get(PACED, {}).get(LEDGER)
    million = next((found for found in results.recoveries if found.transfers == 1_000_000), None)
    return [
        Target("durable transfers in batches, in columns", 100_000, batches, unit="/s"),
        Target(
            "… against two updates per transfer",
            20,
            batches / others if batches and others else None,
            unit=" ×",
        ),
        Target(
            "durable transfers in batches, a message for each",
            100_000,
            results.rate(BATCHES, LEDGER),
            unit="/s",
        ),
        Target("accrued session-seconds", 500_000, results.rate(AT_ONCE, LEDGER), unit="/s"),
        Target(
            "recovery of a million transfers",
            5,
            million.seconds if million else None,
            at_least=False,
            unit=" s",
        ),
        Target(
            "p99 of single transfers at 500/s",
            25,
            paced.percentile_ms(0.99) if paced else None,
            at_least=False,
            unit=" ms",
        ),
        Target(
            "memory per idle account", 300, results.account_bytes(results.idle), at_least=False, unit=" bytes"
        ),
    ]
