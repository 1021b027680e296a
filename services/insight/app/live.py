"""The newest values, computed once a second for all who watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from mesh import telemetry
from mesh.clock import Clock
from mesh.errors import Failure
from mesh.logs import logger
from services.insight.app.service import Insight
from services.insight.domain.metrics import METRICS

log = logger(__name__)
_gauges = {
    metric.name: telemetry.gauge(f"business.{metric.name}", metric.description, unit=f"{{{metric.unit}}}")
    for metric in METRICS
}

EVERY_S = 1.0
HEARTBEAT_S = 5.0


@dataclass(frozen=True, slots=True)
class Values:
    """All metrics at one time."""

    at_ns: int
    values: dict[str, int]


class Live:
    """Values for watchers."""

    def __init__(self, insight: Insight, clock: Clock) -> None:
        self._insight = insight
        self._clock = clock
        self._newest: Values | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Computes until cancelled."""
        while True:
            try:
                values = await self._insight.now()
            except Failure as away:
                log.warning("no values now", error=str(away))
            else:
                for name, value in values.items():
                    _gauges[name].set(value)
                if self._newest is None or values != self._newest.values:
                    self._newest = Values(self._clock.now_ns(), values)
                    self._changed.set()
                    self._changed = asyncio.Event()
            await self._clock.sleep(EVERY_S)

    async def watch(self) -> AsyncGenerator[Values | None, None]:
        """What is, then what changes; None is a heartbeat."""
        told: Values | None = None
        while True:
            if self._newest is not told:
                told = self._newest
                yield told
                continue
            changed = self._changed
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await changed.wait()
            except TimeoutError:
                yield None
