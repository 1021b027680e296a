"""Following the streams of other services: opened again with the last cursor whenever they break."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar, cast

from mesh import logs
from mesh.clock import Clock
from mesh.errors import Failure
from services.rounds.app.retry import Backoff

log = logs.logger(__name__)


class HasCursor(Protocol):
    """News that says where to resume after it."""

    @property
    def cursor(self) -> str:
        """Where to resume."""
        ...


News = TypeVar("News", bound=HasCursor)


async def follow(
    name: str,
    watch: Callable[[str], AsyncIterator[News]],
    take: Callable[[News], Awaitable[None]],
    *,
    clock: Clock,
    cursor: str = "",
) -> None:
    """Hands all news to `take`, in order, until cancelled. News that `take` fails on are asked for again."""
    backoff = Backoff()
    while True:
        try:
            # Streams of stubs are generators, which want closing when they are left early.
            async with aclosing(cast("AsyncGenerator[News, None]", watch(cursor))) as stream:
                async for news in stream:
                    await take(news)
                    cursor = news.cursor
                    backoff = Backoff()
        except Failure as broken:
            log.warning("stream broke; resuming", stream=name, error=str(broken))
        await clock.sleep(backoff.next_s())
