"""Single flight: identical reads that are made for the same user at the same time are one call.

    read = SingleFlight(stub.GetAccount)
    response = await read(request)

Those share a call whose requests are equal, byte by byte, and that carry the same user's token, or none. An
answer is never older than the question: who comes after a call was sent waits for the next one, together with
all who come meanwhile. So there are two of a kind at most, unless the first is slow. The response is shared:
nobody may change it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any, TypeAlias

from google.protobuf.message import Message
from opentelemetry import trace

from mesh import caller, deadlines
from mesh.batching import Shared
from mesh.errors import Unavailable

# Who waits behind a call that takes longer goes ahead.
SLOW_S = 0.1

# The user's token, "" for nobody, and the request.
_Key: TypeAlias = tuple[str, bytes]


class _Flight:
    """One call, of the context of who asked first, and what it answers to all."""

    __slots__ = ("answer", "context", "following", "is_sent", "request")

    def __init__(self, request: Message) -> None:
        self.request = request
        self.context: Context = copy_context()
        self.answer = Shared()
        # A failure that nobody is left to hear of.
        self.answer.add_done_callback(_heard, context=self.context)
        self.is_sent = False
        # The next of its kind, for those who came too late for this one.
        self.following: _Flight | None = None


class SingleFlight:
    """A stub's method without side effects, shared. A call with a deadline or `timeout` is made by itself."""

    def __init__(self, call: Callable[..., Awaitable[Any]], *, slow_s: float = SLOW_S) -> None:
        self._call = call
        self._slow_s = slow_s
        self._flights: dict[_Key, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Message, *, timeout: float | None = None) -> Any:
        """The response. Raises what the call raises, for all who share it."""
        if timeout is not None or deadlines.remaining_s() is not None:
            return await self._call(request, timeout=timeout)
        key = caller.user_token(), request.SerializeToString(deterministic=True)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._begin(key, _Flight(request))
        elif not flight.is_sent:
            _link(flight)
        elif flight.following is not None:
            flight = flight.following
            _link(flight)
        else:
            first, flight = flight, _Flight(request)
            first.following = flight
            asyncio.get_running_loop().call_later(self._slow_s, self._follow, key, first)
        return await flight.answer

    def _begin(self, key: _Key, flight: _Flight) -> _Flight:
        self._flights[key] = flight
        work = self._fly(key, flight)
        task = asyncio.get_running_loop().create_task(work, context=flight.context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _fly(self, key: _Key, flight: _Flight) -> None:
        flight.is_sent = True
        try:
            flight.answer.set_result(await self._call(flight.request))
        except Exception as problem:
            flight.answer.set_exception(problem)
        except asyncio.CancelledError:
            # Nothing else would end those who wait.
            flight.answer.set_exception(Unavailable("the process is stopping"))
            raise
        finally:
            self._follow(key, flight)

    def _follow(self, key: _Key, flight: _Flight) -> None:
        """Lets the next call of its kind go, if it has not gone yet."""
        if self._flights.get(key) is not flight:
            return
        if flight.following is not None:
            self._begin(key, flight.following)
        elif flight.answer.done():
            del self._flights[key]


def _heard(answer: asyncio.Future[Any]) -> None:
    answer.exception()


def _link(flight: _Flight) -> None:
    """The call is in the trace of who asked first; those of the others point there."""
    span = trace.get_current_span()
    if span.is_recording():
        span.add_link(flight.context.run(trace.get_current_span).get_span_context())
