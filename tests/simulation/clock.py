"""Clocks that run a little apart, as those of real machines do."""

from __future__ import annotations

import asyncio

from mesh.clock import NS_PER_S
from tests.simulation.loop import VirtualLoop

START_NS = 1_800_000_000 * NS_PER_S


class SkewedClock:
    """A `Clock` of one machine: an offset that may jump, and a rate."""

    def __init__(self, loop: VirtualLoop, *, offset_s: float = 0.0, rate: float = 1.0) -> None:
        self._loop = loop
        self._rate = rate
        self._stood_still_s = 0.0
        self.offset_s = offset_s

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC, as this machine believes."""
        return START_NS + round((self._loop.time() * self._rate + self.offset_s) * NS_PER_S)

    def monotonic_s(self) -> float:
        """Seconds since the simulation began, by this machine's oscillator."""
        return (self._loop.time() - self._stood_still_s) * self._rate

    def stood_still(self, seconds: float) -> None:
        """The oscillator stood still, as in a suspended virtual machine; the wall clock was set again."""
        self._stood_still_s += seconds

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds / self._rate)
