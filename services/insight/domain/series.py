"""From facts to series: facts fall into buckets of 10 s, 60 buckets make a chunk, steps join buckets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from services.insight.domain.facts import NS_PER_S, Batch
from services.insight.domain.failures import RangeInvalid
from services.insight.domain.metrics import BY_NAME, Aggregation, Metric

Value = TypeVar("Value")

BUCKET_S = 10
CHUNK_S = 600
POINTS_MAX = 1_500
# Chunks read for one request: 31 days.
CHUNKS_MAX = 31 * 24 * 3_600 // CHUNK_S


@dataclass(slots=True)
class Chunk:
    """All metrics over ten minutes, by bucket: sums, the subjects seen, or the newest value with its time."""

    number: int
    sums: dict[str, dict[int, int]] = field(default_factory=dict)
    subjects: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    newest: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Counts the facts of a batch that lies in this chunk."""
        bucket = batch.at_ns // NS_PER_S % CHUNK_S // BUCKET_S
        for fact in batch.facts:
            match BY_NAME[fact.metric].aggregation:
                case Aggregation.SUM:
                    row = self.sums.setdefault(fact.metric, {})
                    row[bucket] = row.get(bucket, 0) + fact.value
                case Aggregation.DISTINCT:
                    self.subjects.setdefault(fact.metric, {}).setdefault(bucket, set()).add(fact.subject)
                case Aggregation.LAST:
                    values = self.newest.setdefault(fact.metric, {})
                    values[bucket] = max(values.get(bucket, (0, 0)), (batch.at_ns, fact.value))


@dataclass(frozen=True, slots=True)
class Range:
    """Steps of equal length; `start_s` and `end_s` are seconds since 1970."""

    start_s: int
    end_s: int
    step_s: int

    @property
    def points(self) -> int:
        """How many steps it has."""
        return (self.end_s - self.start_s) // self.step_s

    def chunks(self) -> range:
        """The numbers of the chunks it touches."""
        return range(self.start_s // CHUNK_S, (self.end_s - 1) // CHUNK_S + 1)


def checked_range(*, start_ns: int, end_ns: int, step_s: int, now_ns: int) -> Range:
    """The range in whole steps: its start moved back to one, its end forward. Raises RangeInvalid."""
    if step_s % BUCKET_S:
        raise RangeInvalid(f"a step is a multiple of {BUCKET_S} s", step_s=step_s)
    if start_ns >= end_ns or start_ns > now_ns or start_ns < 0:
        raise RangeInvalid("the range is empty or lies in the future", points=0, maximum=POINTS_MAX)
    step_ns = step_s * NS_PER_S
    found = Range(start_ns // step_ns * step_s, -(-end_ns // step_ns) * step_s, step_s)
    if found.points > POINTS_MAX:
        raise RangeInvalid("the range has too many steps", points=found.points, maximum=POINTS_MAX)
    if len(found.chunks()) > CHUNKS_MAX:
        days = CHUNKS_MAX * CHUNK_S // 86_400
        raise RangeInvalid(f"a range covers at most {days} days", points=found.points, maximum=POINTS_MAX)
    return found


def points(metric: Metric, over: Range, chunks: Iterable[Chunk], before: int = 0) -> list[int]:
    """The metric's value in each step. `before` is what a LAST metric held when the range began."""
    match metric.aggregation:
        case Aggregation.SUM:
            return _sums(metric.name, over, chunks)
        case Aggregation.DISTINCT:
            return _distinct(metric.name, over, chunks)
        case Aggregation.LAST:
            return _last(metric.name, over, chunks, before)


def last_value(metric: Metric, chunk: Chunk) -> int | None:
    """The newest value of a LAST metric in the chunk."""
    values = chunk.newest.get(metric.name)
    return max(values.values())[1] if values else None


def _sums(name: str, over: Range, chunks: Iterable[Chunk]) -> list[int]:
    found = [0] * over.points
    for chunk in chunks:
        for step, value in _steps(over, chunk, chunk.sums.get(name, {})):
            found[step] += value
    return found


def _distinct(name: str, over: Range, chunks: Iterable[Chunk]) -> list[int]:
    seen: list[set[str]] = [set() for _ in range(over.points)]
    for chunk in chunks:
        for step, subjects in _steps(over, chunk, chunk.subjects.get(name, {})):
            seen[step] |= subjects
    return [len(subjects) for subjects in seen]


def _last(name: str, over: Range, chunks: Iterable[Chunk], before: int) -> list[int]:
    newest: dict[int, tuple[int, int]] = {}
    for chunk in chunks:
        for step, value in _steps(over, chunk, chunk.newest.get(name, {})):
            newest[step] = max(newest.get(step, (0, 0)), value)
    found: list[int] = []
    for step in range(over.points):
        before = newest[step][1] if step in newest else before
        found.append(before)
    return found


def _steps(over: Range, chunk: Chunk, row: Mapping[int, Value]) -> Iterable[tuple[int, Value]]:
    chunk_start_s = chunk.number * CHUNK_S
    for bucket, value in row.items():
        at_s = chunk_start_s + bucket * BUCKET_S
        if over.start_s <= at_s < over.end_s:
            yield (at_s - over.start_s) // over.step_s, value
