"""Calls made in one way, how long they take, and what they cost each process that has a part in them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field

import psutil

from bench.mesh.plan import Plan

# Makes one call and looks at its answer.
Call = Callable[[], Awaitable[object]]
# The process that calls is this one.
CALLER = "caller"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to make a call."""

    call: str
    name: str
    # Opens a connection of its own, and gives what makes a call on it.
    open: Callable[[], AbstractAsyncContextManager[Call]]
    # Ids of the processes that have a part in it, by what they are.
    processes: Mapping[str, int]
    # The way without what is measured; None: this is one.
    without: str | None = None


@dataclass(slots=True)
class Seen:
    """What was measured of a way, turn by turn."""

    way: Way
    # Of a call, in microseconds, by process.
    cpu_us: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    delays_ms: list[float] = field(default_factory=list)

    def add(self, cpu_us: Mapping[str, float], delays_ms: Sequence[float]) -> None:
        """What another turn found."""
        for process, cost in cpu_us.items():
            self.cpu_us[process].append(cost)
        self.delays_ms += delays_ms

    def cost_us(self, process: str) -> float:
        """CPU time of a call, the median of the turns."""
        return statistics.median(self.cpu_us[process])

    @property
    def total_us(self) -> float:
        """Of all processes that have a part in it."""
        return sum(self.cost_us(process) for process in self.way.processes)

    @property
    def median_ms(self) -> float:
        """Time of a call, one at a time."""
        return statistics.median(self.delays_ms)

    @property
    def p99_ms(self) -> float:
        """Of a hundred calls, one takes longer."""
        return statistics.quantiles(self.delays_ms, n=100)[-1]


async def measured(ways: list[Way], plan: Plan) -> list[Seen]:
    """Each way in its turn, round after round: what disturbs one disturbs all."""
    seen = [Seen(way) for way in ways]
    for number in range(plan.rounds + 1):
        for one in seen:
            found = await _turn(one.way, plan)
            if number:
                one.add(*found)
    return seen


async def _turn(way: Way, plan: Plan) -> tuple[dict[str, float], list[float]]:
    """CPU time of a call by process, in microseconds, and how long calls took, in milliseconds."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(way.open()) for _ in range(plan.at_once)]
        # What opening a connection costs is no part of a call.
        for call in connections:
            await call()
        each = plan.together // plan.at_once
        before = _cpu_s(way)
        await asyncio.gather(*(_calls(call, each) for call in connections))
        after = _cpu_s(way)
        delays_ms = await _calls(connections[0], plan.alone)
    cpu_us = {name: (after[name] - before[name]) / (each * plan.at_once) * 1e6 for name in way.processes}
    return cpu_us, delays_ms


async def _calls(call: Call, count: int) -> list[float]:
    delays_ms = []
    for _ in range(count):
        begun_s = time.perf_counter()
        await call()
        delays_ms.append((time.perf_counter() - begun_s) * 1e3)
    return delays_ms


def _cpu_s(way: Way) -> dict[str, float]:
    """CPU time so far, all threads, as the operating system counts it."""
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in way.processes.items()}
