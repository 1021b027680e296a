"""Following another service's `Watch…` stream: opened again behind the last cursor whenever it breaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from mesh.clock import Clock
from mesh.errors import Failure
from mesh.logs import logger

FIRST_S = 0.1
LONGEST_S = 5.0
# Seconds as floats are not exact: a sleep may end this much before its time.
SLACK_S = 1e-6

log = logger(__name__)


class Backoff:
    """Waits that double from one failure to the next, up to `LONGEST_S`."""

    def __init__(self) -> None:
        self.failures = 0
        self.due_at_s = 0.0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        self.failures += 1
        return min(FIRST_S * (1 << min(self.failures - 1, 16)), LONGEST_S)

    def failed(self, now_s: float) -> None:
        """Puts off the next attempt."""
        self.due_at_s = now_s + self.next_s()

    def is_due(self, now_s: float) -> bool:
        """Whether the next attempt may be made."""
        return now_s >= self.due_at_s - SLACK_S


class HasCursor(Protocol):
    """News that says where to resume after it."""

    @property
    def cursor(self) -> str:
        """Where to resume; "" for a fresh start."""
        ...


News = TypeVar("News", bound=HasCursor)


async def follow(
    name: str,
    watch: Callable[[str], AsyncGenerator[News, None]],
    take: Callable[[News], Awaitable[None]],
    *,
    clock: Clock,
    cursor: str = "",
) -> None:
    """Hands all news to `take`, in order, until cancelled. News on which `take` raises Failure come again."""
    backoff = Backoff()
    while True:
        try:
            async with aclosing(watch(cursor)) as stream:
                async for news in stream:
                    await take(news)
                    cursor = news.cursor
                    backoff = Backoff()
        except Failure as broken:
            log.warning("stream broke; resuming", stream=name, error=str(broken))
        await clock.sleep(backoff.next_s())
