"""Overload: what cannot be done soon is refused before it is begun, so that what is begun is done in time."""

from __future__ import annotations

from typing import Any

from mesh import telemetry
from mesh.errors import Overloaded
from mesh.interceptors.pipeline import IncomingCall, Proceed
from mesh.queueing import Queue

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


class Bounds:
    """Refuses calls while a queue stands, and beyond a number at once; that of streams is another."""

    def __init__(self, *, calls_max: int, streams_max: int, wait_max_s: float) -> None:
        self._limits = {False: calls_max, True: streams_max}
        self._running = {False: 0, True: 0}
        self._queue = Queue(wait_max_s, waits=_wait)
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
