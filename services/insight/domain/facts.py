"""Facts: what an event of another service adds to metrics. They are kept for good."""

from __future__ import annotations

from dataclasses import dataclass

from services.insight.domain.metrics import BY_NAME

NS_PER_S = 1_000_000_000
# Facts kept in one record; a larger event becomes several batches.
FACTS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Fact:
    """What one event adds to one metric. Raises ValueError for a metric that is not in the catalogue."""

    metric: str
    value: int
    # Whom or what it is about: a user, meme, round, or transfer id.
    subject: str

    def __post_init__(self) -> None:
        if self.metric not in BY_NAME:
            raise ValueError(f"no metric is named {self.metric!r}")


@dataclass(frozen=True, slots=True)
class Batch:
    """The facts of one event. `id` is "<service>/<event id>" and the same whenever the event is heard."""

    id: str
    at_ns: int
    facts: tuple[Fact, ...]

    def fact_id(self, index: int) -> str:
        """ "<service>/<event id>/<n>"."""
        return f"{self.id}/{index}"


def batches(batch_id: str, at_ns: int, facts: list[Fact]) -> list[Batch]:
    """The facts of an event in records of bearable size; none when there are no facts."""
    if len(facts) <= FACTS_MAX:
        return [Batch(batch_id, at_ns, tuple(facts))] if facts else []
    return [
        Batch(f"{batch_id}.{start // FACTS_MAX}", at_ns, tuple(facts[start : start + FACTS_MAX]))
        for start in range(0, len(facts), FACTS_MAX)
    ]
