"""Single flight: identical reads that are made for the same user at the same time are one call.

    read = SingleFlight(stub.GetAccount)
    response = await read(request)

Those share a call whose requests are equal, byte by byte, and that carry the same user's token, or none. An
answer is never older than the question: who comes after a call was sent waits for the next one, together with
all who come meanwhile. So there are two of a kind at most, unless the first is slow. The response is shared:
nobody may change it. Who leaves takes it from nobody; the last one who waits for a call ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any, TypeAlias

from google.protobuf.message import Message
from opentelemetry import trace

from mesh import caller, deadlines
from mesh.contracts import TIMEOUT_S_DEFAULT
from mesh.errors import Unavailable

# Who waits behind a call that takes longer goes ahead.
SLOW_S = 0.1

# The user's token, "" for nobody, and the request.
_Key: TypeAlias = tuple[str, bytes]


class _Flight:
    """One call, of the context of who asked first, and those who wait for its answer."""

    __slots__ = ("context", "following", "is_over", "is_sent", "request", "task", "waiting")

    def __init__(self, request: Message) -> None:
        self.request = request
        self.context: Context = copy_context()
        self.waiting: set[asyncio.Future[Any]] = set()
        self.task: asyncio.Task[None] | None = None
        self.is_sent = self.is_over = False
        # The next of its kind, for those who came too late for this one.
        self.following: _Flight | None = None

    def answered(self, answer: Any) -> None:
        """Tells all who wait."""
        self.is_over = True
        for one in self.waiting:
            if not one.done():
                one.set_result(answer)

    def failed(self, problem: Exception) -> None:
        """Tells all who wait."""
        self.is_over = True
        for one in self.waiting:
            if not one.done():
                one.set_exception(problem)
                # Who is cancelled in this turn of the loop will not hear of it.
                one.exception()


class SingleFlight:
    """A stub's method without side effects, shared.

    A call with a `timeout`, or with a deadline before `timeout_s`, its contract's, is made by itself.
    """

    def __init__(
        self,
        call: Callable[..., Awaitable[Any]],
        *,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        slow_s: float = SLOW_S,
    ) -> None:
        self._call = call
        self._timeout_s = timeout_s
        self._slow_s = slow_s
        self._flights: dict[_Key, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Message, *, timeout: float | None = None) -> Any:
        """The response. Raises what the call raises, for all who share it."""
        left_s = deadlines.remaining_s()
        if timeout is not None or (left_s is not None and left_s < self._timeout_s):
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
        own = asyncio.get_running_loop().create_future()
        flight.waiting.add(own)
        try:
            return await own
        except asyncio.CancelledError:
            flight.waiting.discard(own)
            if not flight.waiting:
                self._abandon(key, flight)
            raise

    def _begin(self, key: _Key, flight: _Flight) -> _Flight:
        self._flights[key] = flight
        work = self._fly(key, flight)
        task = flight.task = asyncio.get_running_loop().create_task(work, context=flight.context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _fly(self, key: _Key, flight: _Flight) -> None:
        flight.is_sent = True
        try:
            flight.answered(await self._call(flight.request))
        except Exception as problem:
            flight.failed(problem)
        except asyncio.CancelledError:
            # Nothing else would end those who wait.
            flight.failed(Unavailable("the process is stopping"))
            raise
        finally:
            self._follow(key, flight)

    def _follow(self, key: _Key, flight: _Flight) -> None:
        """Lets the next call of its kind go, if it has not gone yet."""
        if self._flights.get(key) is not flight:
            return
        if flight.following is not None:
            self._begin(key, flight.following)
        elif flight.is_over:
            del self._flights[key]

    def _abandon(self, key: _Key, flight: _Flight) -> None:
        """Nobody waits for it any more."""
        if flight.is_over:
            return
        flight.is_over = True
        first = self._flights.get(key)
        if first is not None and first.following is flight:
            first.following = None
        if flight.task is not None:
            self._follow(key, flight)
            flight.task.cancel()


def _link(flight: _Flight) -> None:
    """The call is in the trace of who asked first; those of the others point there."""
    span = trace.get_current_span()
    if span.is_recording():
        span.add_link(flight.context.run(trace.get_current_span).get_span_context())
