"""What subscribers are answered to one piece of news: each answer is made once, whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any


class Answers:
    """The answers to one piece of news, by what they depend on besides. Kept as long as the news are."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[Hashable, _Answer] = {}

    async def of(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """The answer, made if nobody has asked for it before; also those who only wait get what it raises.

        It is made in a task of its own: who leaves takes it from nobody, and the last one ends it.
        """
        answer = self._made.get(key)
        if answer is None:
            answer = self._made[key] = _Answer(asyncio.create_task(make()))
        if answer.task.done():
            return answer.task.result()
        try:
            return await answer.wait()
        finally:
            if answer.is_given_up and self._made.get(key) is answer:
                # Somebody who is behind may come for it yet.
                del self._made[key]


class _Answer:
    """A future for each who waits: `asyncio.shield` would cost each of thousands three objects more."""

    __slots__ = ("_waiting", "is_given_up", "task")

    def __init__(self, task: asyncio.Task[bytes]) -> None:
        self.task = task
        self.is_given_up = False
        self._waiting: set[asyncio.Future[None]] = set()
        task.add_done_callback(self._wake)

    async def wait(self) -> bytes:
        waiter = self.task.get_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)
            if not self._waiting and not self.task.done():
                self.is_given_up = True
                self.task.cancel()
        return self.task.result()

    def _wake(self, _task: asyncio.Task[bytes]) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
