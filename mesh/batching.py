"""Turns many `get(id)` into few `BatchGet` calls, without a timer: ids gather while calls run.

    async with Batcher(fetch_accounts) as accounts:
        account = await accounts.get(account_id)

The batch is nobody's call: it carries no user and no caller's deadline, so it suits only methods that need
no user and answer everybody alike. Its trace is that of one who asked, with links to others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from typing import Generic, TypeVar, cast

from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext

from mesh import deadlines, telemetry
from mesh.batch import Answer, Batch, Work
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


class Batcher(Generic[Key, Value]):
    """Coalesces lookups. `fetch` takes up to `batch_max` distinct keys and answers those that it finds.

    An answer is never older than the question: who asks while a batch runs waits for the next one, even if
    the key is in the one that runs. Who leaves takes it from nobody; the last one who waits for a batch ends
    it.
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
        # Not sent yet; keys are added to the last.
        self._gathered: deque[Batch[Key]] = deque()
        self._running: dict[asyncio.Task[None], Batch[Key]] = {}
        # Those of them that have taken long already.
        self._slow: set[asyncio.Task[None]] = set()
        self._closed = False

    async def get(self, key: Key) -> Value | None:
        """The value of the key, None where there is none; equal keys asked for at one time are fetched once.

        Raises what `fetch` raised for the batch, DeadlineExceeded when the current call's time is over, and
        Overloaded when too many keys wait.
        """
        try:
            async with asyncio.timeout(deadlines.remaining_s()):
                value: Value | None = await self.ask(key)
                return value
        except TimeoutError:
            raise DeadlineExceeded from None

    def ask(self, key: Key, work: Work | None = None) -> Answer:
        """The answer that `get` waits for, for who has no deadline; `work`, the current task if there is none
        given, is the task that it is for. Raises Overloaded, Unavailable.
        """
        if self._closed:
            raise Unavailable("lookups have been closed")
        batch = self._batch_for(key)
        if len(batch.askers) < LINKS_MAX:
            asker = trace.get_current_span().get_span_context()
            if asker.is_valid and asker not in batch.askers[-1:]:
                batch.askers.append(asker)
        return batch.ask(key, cast("Work", asyncio.current_task()) if work is None else work)

    def _batch_for(self, key: Key) -> Batch[Key]:
        if not self._gathered:
            # In the next turn, so that all who ask in this one share the batch.
            asyncio.get_running_loop().call_soon(self._start, context=Context())
            self._gathered.append(Batch())
        last = self._gathered[-1]
        if key in last.answers:
            return last
        if (len(self._gathered) - 1) * self._batch_max + len(last.answers) >= self._waiting_max:
            raise Overloaded
        if len(last.answers) >= self._batch_max:
            last = Batch()
            self._gathered.append(last)
        return last

    def _start(self) -> None:
        while self._gathered and self._may_start() and not self._closed:
            batch = self._gathered.popleft()
            if batch.waiting:
                self._send(batch)
            else:
                batch.over()

    def _send(self, batch: Batch[Key]) -> None:
        loop = asyncio.get_running_loop()
        task = batch.task = loop.create_task(self._answer(batch), context=Context())
        self._running[task] = batch
        timer = loop.call_later(self._slow_s, self._is_slow, task, context=Context())
        task.add_done_callback(partial(self._ended, timer), context=Context())

    def _may_start(self) -> bool:
        return len(self._running) - len(self._slow) < self._in_flight_max and len(self._slow) < SLOW_MAX

    def _is_slow(self, task: asyncio.Task[None]) -> None:
        self._slow.add(task)
        self._start()

    def _ended(self, timer: asyncio.TimerHandle, task: asyncio.Task[None]) -> None:
        timer.cancel()
        self._slow.discard(task)
        self._running.pop(task).over(task.cancelled())
        self._start()

    async def _answer(self, batch: Batch[Key]) -> None:
        try:
            with _on_behalf_of(batch.askers):
                found = await self._fetch(batch.wanted())
        except Exception as failure:
            batch.fail(failure)
        else:
            batch.answer(found)

    async def __aenter__(self) -> Batcher[Key, Value]:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Fails everybody who still waits, and ends what runs."""
        self._closed = True
        for batch in (*self._gathered, *self._running.values()):
            batch.fail(Unavailable("lookups have been closed"))
        self._gathered.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


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
