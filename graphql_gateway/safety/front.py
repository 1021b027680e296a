"""Overload of this process: while a queue stands before it, what is new is refused before it is begun."""

from __future__ import annotations

from enum import StrEnum

from graphql_gateway.safety.turns import Door
from mesh import telemetry
from mesh.errors import Overloaded
from mesh.queueing import Queue

RETRY_AFTER_S = 1
# Of the loop: a request needs some, and one alone may have little to do.
TURNS = 4

_wait = telemetry.durations(
    "gateway.queue.wait",
    "How long who comes now waits at the door, looked at as requests and operations come.",
)
_refused = telemetry.counter(
    "gateway.refused",
    "Requests, and operations on WebSockets, refused before they began: too long a queue.",
    unit="{operation}",
    by=("kind", "reason"),
)


class Kind(StrEnum):
    """What is refused."""

    REQUEST = "request"
    # On a WebSocket that is open.
    OPERATION = "operation"


class Front:
    """The door that requests come in by, and the queue before it.

    The loop has as much to do for operations on WebSockets as for requests: it is one queue for both.
    """

    def __init__(self, wait_max_s: float) -> None:
        self.door = Door()
        self._queue = Queue(wait_max_s, waits=_wait, turns=TURNS, ahead=self.door.turns_ahead)

    def is_overloaded(self) -> bool:
        """Whether who comes now is to be refused. What goes on, goes on."""
        return self._queue.stands()

    def refusal(self, kind: Kind) -> Overloaded:
        """To be raised; counts it."""
        _refused.add(1, {"kind": kind, "reason": "queue"})
        return Overloaded(
            "The gateway is behind with its work: try again in a second.", retry_after_s=RETRY_AFTER_S
        )
