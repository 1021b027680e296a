"""Time as a dependency: code that needs it is given a `Clock`.

Wall-clock instants are integer nanoseconds since 1970 UTC (`now_ns`), which `Timestamp.FromNanoseconds` takes
as it is; durations are float seconds on the monotonic clock.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from datetime import UTC, datetime
from itertools import count
from typing import Protocol

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Where time comes from."""

    def now_ns(self) -> int:
        """The wall clock: nanoseconds since 1970 UTC. It may jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...


class SystemClock:
    """The time of this machine."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)


class ManualClock:
    """Time that stands still until a test moves it with `advance`."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now_ns = round(start.timestamp()) * NS_PER_S
        self._start_ns = self._now_ns
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        return self._now_ns

    def monotonic_s(self) -> float:
        """Seconds since the clock was made."""
        return (self._now_ns - self._start_ns) / NS_PER_S

    async def sleep(self, seconds: float) -> None:
        """Waits until `advance` has moved time far enough."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ns + round(seconds * NS_PER_S), next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Moves time on, waking sleepers in the order of their time and letting each run on."""
        target_ns = self._now_ns + round(seconds * NS_PER_S)
        await _let_others_run()
        while self._sleepers and self._sleepers[0][0] <= target_ns:
            wake_ns, _, woken = heapq.heappop(self._sleepers)
            self._now_ns = max(self._now_ns, wake_ns)
            if not woken.done():
                woken.set_result(None)
            await _let_others_run()
        self._now_ns = target_ns
        await _let_others_run()


async def _let_others_run() -> None:
    # A woken task may itself wake others; a few turns let such a chain settle.
    for _ in range(10):
        await asyncio.sleep(0)
