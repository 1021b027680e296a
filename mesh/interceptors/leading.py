"""Calls that only a leader answers: who does not lead refuses them before they begin, to be made anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mesh.errors import NOT_LEADER, Unavailable
from mesh.interceptors.pipeline import IncomingCall, Proceed

# Of a call: the health name by which its server was found, when that is not the service's own.
HEALTH_KEY = "satreel-health"


class NotBegun(Unavailable):
    """This instance does not lead, or not any more, and has begun nothing: another one leads, or will."""

    reason = NOT_LEADER


class LeadersCalls:
    """Those to services of which one instance leads; not such as say that another name has led them here."""

    def __init__(self, serves: Callable[[str], bool]) -> None:
        """`serves` tells of a service whether this instance reports that it serves."""
        # Full names of services of which one instance leads.
        self.services: set[str] = set()
        self._serves = serves
        self._running = 0
        self._none_run = asyncio.Event()
        self._none_run.set()

    async def __call__(self, call: IncomingCall, request: Any, proceed: Proceed) -> Any:
        """Proceeds where this instance leads. Raises NotBegun."""
        service = call.contract.service
        if service not in self.services or HEALTH_KEY in call.metadata:
            return await proceed(call, request)
        if not self._serves(service):
            raise NotBegun
        if call.contract.streams:
            return await proceed(call, request)
        self._count(1)
        try:
            return await proceed(call, request)
        finally:
            self._count(-1)

    async def none_run(self) -> None:
        """Returns when none runs that ends by itself; streams do not."""
        await self._none_run.wait()

    def _count(self, change: int) -> None:
        self._running += change
        if self._running:
            self._none_run.clear()
        else:
            self._none_run.set()
