"""One watch stream per service and process: resumed by its cursor, shared by all local subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import grpc.aio
from google.protobuf.message import Message

from mesh import logs
from mesh.clock import Clock
from mesh.errors import Exhausted, Failure

log = logs.logger(__name__)

BACKLOG_MAX = 256
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0


# A response of any Watch call: a cursor and one of heartbeat, snapshot and event.
N = TypeVar("N", bound=Message)


class FellBehind(Exhausted):
    """The subscriber does not read as fast as news come; subscribe again."""

    reason = "FELL_BEHIND"


class Watch(Generic[N]):
    """Follows one service's news for ever and hands them to subscribers; the newest snapshot is kept."""

    def __init__(self, name: str, open_stream: Callable[[str], Any], clock: Clock) -> None:
        self.name = name
        self._open = open_stream
        self._clock = clock
        self._cursor = ""
        self._subscribers: set[asyncio.Queue[N | None]] = set()

    async def run(self) -> None:
        """Reads the stream, resuming after every break. Never returns."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                async for news in self._open(self._cursor):
                    wait_s = RETRY_FIRST_S
                    self._cursor = news.cursor or self._cursor
                    if news.WhichOneof("news") != "heartbeat":
                        self._publish(news)
            except (Failure, grpc.aio.AioRpcError) as problem:
                log.warning("a watch stream broke", stream=self.name, problem=str(problem), retry_s=wait_s)
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_LAST_S)

    def _publish(self, news: N) -> None:
        for queue in tuple(self._subscribers):
            if queue.full():
                self._subscribers.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(news)

    @contextmanager
    def _queue(self) -> Any:
        queue: asyncio.Queue[N | None] = asyncio.Queue(BACKLOG_MAX)
        self._subscribers.add(queue)
        try:
            yield queue
        finally:
            self._subscribers.discard(queue)

    @contextmanager
    def subscribe(self) -> Any:
        """News from now on as an async iterator: subscribe first, then read what is, and nothing is missed.

        The iterator raises FellBehind when the subscriber let too many wait.
        """
        with self._queue() as queue:
            yield _read(queue)


async def _read(queue: asyncio.Queue[N | None]) -> AsyncIterator[N]:
    while True:
        news = await queue.get()
        if news is None:
            raise FellBehind
        yield news
