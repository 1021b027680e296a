"""Turns many `get(id)` into few `BatchGet` calls, without a timer: ids gather while calls run.

    async with Batcher(fetch_accounts) as accounts:
        account = await accounts.get(account_id)

The batch is nobody's call: it carries no user and no caller's deadline, so it suits only methods that need
no user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import Context
from typing import Generic, TypeVar

from mesh import deadlines
from mesh.errors import DeadlineExceeded, Overloaded, Unavailable

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

BATCH_MAX = 1_000
IN_FLIGHT_MAX = 4
WAITING_MAX = 10_000


class Batcher(Generic[Key, Value]):
    """Coalesces lookups. `fetch` takes up to `batch_max` distinct keys and answers those that it finds."""

    def __init__(
        self,
        fetch: Callable[[list[Key]], Awaitable[Mapping[Key, Value]]],
        *,
        batch_max: int = BATCH_MAX,
        in_flight_max: int = IN_FLIGHT_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._fetch = fetch
        self._batch_max = batch_max
        self._in_flight_max = in_flight_max
        self._waiting_max = waiting_max
        self._answers: dict[Key, asyncio.Future[Value | None]] = {}
        self._gathered: list[Key] = []
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def get(self, key: Key) -> Value | None:
        """The value of the key, None where there is none; equal keys asked for at one time are fetched once.

        Raises what `fetch` raised for the batch, DeadlineExceeded when the current call's time is over, and
        Overloaded when too many keys wait.
        """
        if self._closed:
            raise Unavailable("lookups have been closed")
        answer = self._answers.get(key)
        if answer is None:
            answer = self._enqueue(key)
        try:
            async with asyncio.timeout(deadlines.remaining_s()):
                # Others may wait for the same answer: giving up here must not take it from them.
                return await asyncio.shield(answer)
        except TimeoutError:
            raise DeadlineExceeded from None

    def _enqueue(self, key: Key) -> asyncio.Future[Value | None]:
        if len(self._gathered) >= self._waiting_max:
            raise Overloaded
        loop = asyncio.get_running_loop()
        answer = self._answers[key] = loop.create_future()
        # An answer that everybody has given up on may carry an exception that nobody reads.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not self._gathered:
            # In the next turn, so that all who ask in this one share the batch.
            loop.call_soon(self._start)
        self._gathered.append(key)
        return answer

    def _start(self) -> None:
        while self._gathered and len(self._running) < self._in_flight_max and not self._closed:
            keys, self._gathered = self._gathered[: self._batch_max], self._gathered[self._batch_max :]
            task = asyncio.get_running_loop().create_task(self._answer(keys), context=Context())
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    async def _answer(self, keys: list[Key]) -> None:
        answers = [(key, self._answers[key]) for key in keys]
        try:
            found = await self._fetch(keys)
        except BaseException as problem:
            failure = problem if isinstance(problem, Exception) else Unavailable("lookups have been closed")
            self._settle(answers, lambda _, answer: answer.set_exception(failure))
            if not isinstance(problem, Exception):
                raise
        else:
            self._settle(answers, lambda key, answer: answer.set_result(found.get(key)))

    def _settle(
        self,
        answers: list[tuple[Key, asyncio.Future[Value | None]]],
        settle: Callable[[Key, asyncio.Future[Value | None]], None],
    ) -> None:
        for key, answer in answers:
            self._answers.pop(key, None)
            if not answer.done():
                settle(key, answer)

    async def __aenter__(self) -> Batcher[Key, Value]:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Fails everybody who still waits, and ends what runs."""
        self._closed = True
        waiting = [(key, self._answers[key]) for key in self._gathered]
        self._gathered = []
        self._settle(waiting, lambda _, answer: answer.set_exception(Unavailable("lookups have been closed")))
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
