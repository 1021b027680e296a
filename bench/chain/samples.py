"""Samples: how often something was done, and what time and CPU it took."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SATREEL, SDK = "Satreel", "bsv-sdk"
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """One kind of work by one system. CPU is that of this process, from the operating system.

    `each_ms` are the times of single operations, of which each round gives one; `bytes` is what all of them
    worked through, if that says something.
    """

    work: str
    system: str
    operations: int
    seconds: float
    cpu_s: float
    each_ms: tuple[float, ...]
    bytes: int = 0

    @property
    def per_core(self) -> float:
        """Operations in a second of CPU."""
        return self.operations / self.cpu_s

    @property
    def cpu_us(self) -> float:
        """CPU of an operation, in microseconds."""
        return self.cpu_s / self.operations * 1e6

    @property
    def median_ms(self) -> float:
        """Time of an operation in the middle one of the rounds, by the clock on the wall."""
        return statistics.median(self.each_ms)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Transactions that the node accepted: how, how many a second, and what each cost whom."""

    way: str
    transactions: int
    seconds: float
    node_cpu_s: float
    own_cpu_s: float

    @property
    def rate(self) -> float:
        """Transactions a second."""
        return self.transactions / self.seconds


@dataclass(slots=True)
class Results:
    """What a run found, in order."""

    samples: list[Sample] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, work: str, system: str = SATREEL) -> Sample | None:
        """The sample of this work."""
        return next((one for one in self.samples if (one.work, one.system) == (work, system)), None)


def measured(
    work: str,
    system: str,
    operations: int,
    once: Callable[[int], object],
    *,
    bytes_each: int = 0,
    before: Callable[[], object] | None = None,
) -> Sample:
    """Calls `once` with 0, 1, ... so often in each of some rounds. `before` runs ahead of each, untimed."""
    seconds = cpu_s = 0.0
    each_ms: list[float] = []
    gc.collect()
    for _ in range(ROUNDS):
        if before is not None:
            before()
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        for number in range(operations):
            once(number)
        taken_s = time.perf_counter() - begun_s
        cpu_s += time.process_time() - begun_cpu_s
        seconds += taken_s
        each_ms.append(taken_s / operations * 1e3)
    done = operations * ROUNDS
    return Sample(work, system, done, seconds, cpu_s, tuple(each_ms), bytes_each * done)


def require(holds: object, what: str) -> None:
    """Raises RuntimeError: what gives wrong results is not worth measuring."""
    if not holds:
        raise RuntimeError(f"wrong result: {what}")


def require_same(samples: Sequence[object], what: str) -> None:
    """Raises RuntimeError unless all of these are the same."""
    require(all(one == samples[0] for one in samples), what)
