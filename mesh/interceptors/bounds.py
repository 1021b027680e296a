"""Overload: what cannot be done soon is refused before it is begun, so that what is begun is done in time."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from typing import Any

from mesh import telemetry
from mesh.errors import Overloaded
from mesh.interceptors.pipeline import IncomingCall, Proceed

# A queue that lasts as long as this is no burst.
STANDING_S = 1.0

_running = telemetry.up_down(
    "rpc.server.running", "Calls being worked on, by kind.", unit="{call}", by=("kind",)
)
_wait = telemetry.durations(
    "rpc.server.queue.wait",
    "How long what is due waits for its turn in the event loop, looked at as calls come.",
)
_refused = telemetry.counter(
    "rpc.server.refused", "Calls refused before they began: too many, or too long a queue.",
    unit="{call}", by=("kind", "reason"),
)  # fmt: skip
_KINDS = {False: {"kind": "unary"}, True: {"kind": "stream"}}


class Queue:
    """How long the event loop makes everybody wait, and whether that is a burst or has come to stay.

    A call is begun in its turn, behind all that was due before. A look takes its turn like a call: at most
    one is under way, begun by a call, or by a look that found more than `wait_max_s`. When all have found
    that for `STANDING_S` behind the first, the queue does not shrink by itself (as CoDel has it, RFC 8289):
    one stop of the process, however long, refuses nobody.
    """

    def __init__(self, wait_max_s: float, *, standing_s: float = STANDING_S) -> None:
        self._wait_max_s = wait_max_s
        self._standing_s = standing_s
        # Whether a look is under way.
        self._looks = False
        # Since when all looks have found too much; None: the last one did not.
        self._late_since_s: float | None = None
        self._stands = False

    def stands(self) -> bool:
        """Whether who comes now is to be refused."""
        if not self._looks:
            self._begin(time.monotonic())
        return self._stands

    def _begin(self, now_s: float) -> None:
        self._looks = True
        asyncio.get_running_loop().call_soon(self._end, now_s, context=Context())

    def _end(self, began_s: float) -> None:
        now_s = time.monotonic()
        _wait.record(now_s - began_s)
        if now_s - began_s <= self._wait_max_s:
            self._late_since_s = None
            self._looks = self._stands = False
            return
        if self._late_since_s is None:
            self._late_since_s = now_s
        self._stands = now_s - self._late_since_s >= self._standing_s
        self._begin(now_s)


class Bounds:
    """Refuses calls while a queue stands, and beyond a number at once; that of streams is another."""

    def __init__(self, *, calls_max: int, streams_max: int, queue: Queue) -> None:
        self._limits = {False: calls_max, True: streams_max}
        self._running = {False: 0, True: 0}
        self._queue = queue
        # Calls that have come so far.
        self.begun = 0

    async def __call__(self, call: IncomingCall, request: Any, proceed: Proceed) -> Any:
        """Counts the call while it runs. Raises Overloaded."""
        self.begun += 1
        streams = call.contract.streams
        if self._queue.stands():
            _refused.add(1, {**_KINDS[streams], "reason": "queue"})
            raise Overloaded("The service is behind with its work: try again later.")
        if self._running[streams] >= self._limits[streams]:
            _refused.add(1, {**_KINDS[streams], "reason": "count"})
            raise Overloaded
        self._count(streams, 1)
        try:
            return await proceed(call, request)
        finally:
            self._count(streams, -1)

    def _count(self, streams: bool, change: int) -> None:
        self._running[streams] += change
        _running.add(change, _KINDS[streams])
