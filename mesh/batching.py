"""Turns many `get(id)` into few `BatchGet` calls, without a timer: ids gather while calls run.

    async with Batcher(fetch_accounts) as accounts:
        account = await accounts.get(account_id)

The batch is nobody's call: it carries no user and no caller's deadline, so it suits only methods that need
no user and answer everybody alike. Its trace is that of one who asked, with links to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Generic, TypeVar

from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext

from mesh import deadlines, telemetry
from mesh.errors import DeadlineExceeded, Overloaded, Unavailable

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

BATCH_MAX = 1_000
IN_FLIGHT_MAX = 4
WAITING_MAX = 10_000
# A batch that takes longer no longer holds others up, unless so many do.
SLOW_S = 0.1
SLOW_MAX = 60
# Of those who ask, so many are known to the trace of a batch.
LINKS_MAX = 16


class Shared(asyncio.Future[Any]):
    """What several wait for: none of them can cancel it for the others."""

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 - as overridden
        """Refused; whoever waits is cancelled as soon as the answer is there."""
        return False


class Batcher(Generic[Key, Value]):
    """Coalesces lookups. `fetch` takes up to `batch_max` distinct keys and answers those that it finds.

    An answer is never older than the question: who asks while a batch runs waits for the next one, even if
    the key is in the one that runs.
    """

    def __init__(
        self,
        fetch: Callable[[list[Key]], Awaitable[Mapping[Key, Value]]],
        *,
        batch_max: int = BATCH_MAX,
        in_flight_max: int = IN_FLIGHT_MAX,
        waiting_max: int = WAITING_MAX,
        slow_s: float = SLOW_S,
    ) -> None:
        self._fetch = fetch
        self._batch_max = batch_max
        self._in_flight_max = in_flight_max
        self._waiting_max = waiting_max
        self._slow_s = slow_s
        # Not sent yet, and who asked for them.
        self._gathered: dict[Key, Shared] = {}
        self._askers: list[SpanContext] = []
        self._running: set[asyncio.Task[None]] = set()
        # Those of them that have taken long already.
        self._slow: set[asyncio.Task[None]] = set()
        self._closed = False

    async def get(self, key: Key) -> Value | None:
        """The value of the key, None where there is none; equal keys asked for at one time are fetched once.

        Raises what `fetch` raised for the batch, DeadlineExceeded when the current call's time is over, and
        Overloaded when too many keys wait.
        """
        answer = self.ask(key)
        try:
            async with asyncio.timeout(deadlines.remaining_s()):
                # Others may wait for the same answer: giving up here must not take it from them.
                value: Value | None = await asyncio.shield(answer)
                return value
        except TimeoutError:
            raise DeadlineExceeded from None

    def ask(self, key: Key) -> Shared:
        """The answer that `get` waits for, for who has no deadline. Raises Overloaded, Unavailable."""
        if self._closed:
            raise Unavailable("lookups have been closed")
        answer = self._gathered.get(key)
        if answer is None:
            answer = self._enqueue(key)
        if len(self._askers) < LINKS_MAX:
            asker = trace.get_current_span().get_span_context()
            if asker.is_valid and asker not in self._askers[-1:]:
                self._askers.append(asker)
        return answer

    def _enqueue(self, key: Key) -> Shared:
        if len(self._gathered) >= self._waiting_max:
            raise Overloaded
        loop = asyncio.get_running_loop()
        answer = Shared(loop=loop)
        # An answer that everybody has given up on may carry an exception that nobody reads.
        answer.add_done_callback(_read)
        if not self._gathered:
            # In the next turn, so that all who ask in this one share the batch.
            loop.call_soon(self._start, context=Context())
        self._gathered[key] = answer
        return answer

    def _start(self) -> None:
        while self._gathered and self._may_start() and not self._closed:
            batch, askers = self._next_batch()
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._answer(batch, askers), context=Context())
            self._running.add(task)
            task.add_done_callback(self._ended, context=Context())
            timer = loop.call_later(self._slow_s, self._is_slow, task, context=Context())
            task.add_done_callback(lambda _, timer=timer: timer.cancel(), context=Context())  # type: ignore[misc]

    def _may_start(self) -> bool:
        return len(self._running) - len(self._slow) < self._in_flight_max and len(self._slow) < SLOW_MAX

    def _next_batch(self) -> tuple[dict[Key, Shared], list[SpanContext]]:
        askers, self._askers = self._askers, []
        batch = self._gathered
        if len(batch) <= self._batch_max:
            self._gathered = {}
            return batch, askers
        keys = list(batch)
        self._gathered = {key: batch[key] for key in keys[self._batch_max :]}
        return {key: batch[key] for key in keys[: self._batch_max]}, askers

    def _is_slow(self, task: asyncio.Task[None]) -> None:
        self._slow.add(task)
        self._start()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._slow.discard(task)
        self._start()

    async def _answer(self, batch: dict[Key, Shared], askers: list[SpanContext]) -> None:
        try:
            with _on_behalf_of(askers):
                found = await self._fetch(list(batch))
        except BaseException as problem:
            failure = problem if isinstance(problem, Exception) else Unavailable("lookups have been closed")
            _fail(batch, failure)
            if not isinstance(problem, Exception):
                raise
        else:
            for key, answer in batch.items():
                answer.set_result(found.get(key))

    async def __aenter__(self) -> Batcher[Key, Value]:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Fails everybody who still waits, and ends what runs."""
        self._closed = True
        _fail(self._gathered, Unavailable("lookups have been closed"))
        self._gathered = {}
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _fail(batch: Mapping[Any, Shared], failure: Exception) -> None:
    for answer in batch.values():
        answer.set_exception(failure)


def _read(answer: asyncio.Future[Any]) -> None:
    answer.exception()


@contextmanager
def _on_behalf_of(askers: list[SpanContext]) -> Iterator[None]:
    """Makes what is called a part of the first trace that is looked at; a span links it to the others."""
    parent = next((one for one in askers if one.trace_flags.sampled), askers[0] if askers else None)
    if parent is None:
        yield
        return
    token = trace_context.attach(trace.set_span_in_context(NonRecordingSpan(parent)))
    try:
        links = [Link(one) for one in askers if one is not parent and one.trace_flags.sampled]
        if not links:
            yield
            return
        with telemetry.tracer.start_as_current_span("batch", links=links):
            yield
    finally:
        trace_context.detach(token)
