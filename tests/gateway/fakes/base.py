"""What the simple services share: they keep what tests give them, and remember calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.mesh.v1 import access_pb2

from mesh import caller, deadlines
from mesh.caller import Caller
from mesh.errors import Code, Failure, NotFound, Unavailable
from mesh.feeds.feed import HEARTBEAT_S

AT = Timestamp(seconds=1_770_000_000)
NOBODY = "0190ffff-0000-7000-8000-00000000ffff"


class NotYours(Failure):
    """It belongs to another user."""

    code = Code.PERMISSION_DENIED
    reason = "NOT_YOURS"


def missing(reason: str) -> NotFound:
    """NOT_FOUND with a reason of the service's own."""
    failure = NotFound("There is none.")
    failure.reason = reason
    return failure


@dataclass
class Call:
    """One call that reached a service."""

    name: str
    request: Any
    caller: Caller
    # Time that it had left.
    left_s: float | None


@dataclass
class Log:
    """What reached the services, and which calls shall fail."""

    calls: list[Call] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)
    holding: dict[str, asyncio.Event] = field(default_factory=dict)
    # Held calls that nobody waited for any more, by method.
    given_up: Counter[str] = field(default_factory=Counter)

    async def take(self, request: Message) -> None:
        """Remembers a call; raises what it shall fail with; waits if it is held."""
        name = type(request).__name__.removesuffix("Request")
        self.calls.append(Call(name, request, caller.current(), deadlines.remaining_s()))
        if name in self.holding:
            try:
                await self.holding[name].wait()
            except asyncio.CancelledError:
                self.given_up[name] += 1
                raise
        if name in self.failing:
            raise self.failing[name]

    def of(self, name: str) -> list[Call]:
        """The calls of one method, the oldest first."""
        return [call for call in self.calls if call.name == name]


class Feed:
    """A Watch stream that tests write; a stream without a cursor begins with the snapshot."""

    def __init__(self, snapshot: Callable[[], Message]) -> None:
        self._snapshot = snapshot
        self._readers: set[asyncio.Queue[Any]] = set()
        self.cursors: list[str] = []
        # What a stream from such a cursor begins with.
        self.behind: dict[str, list[Any]] = {}
        self.lost = False
        # None: none come.
        self.heartbeat_s: float | None = HEARTBEAT_S

    def publish(self, response: Any) -> None:
        """To all who watch."""
        for reader in self._readers:
            reader.put_nowait(response)

    def break_streams(self) -> None:
        """As a service that goes down does."""
        self.publish(Unavailable("going down"))

    @property
    def watchers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    async def watch(self, cursor: str) -> AsyncIterator[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._readers.add(queue)
        self.cursors.append(cursor)
        try:
            if not cursor or self.lost:
                yield self._snapshot()
            for news in self.behind.get(cursor, ()):
                yield news
            while True:
                try:
                    async with asyncio.timeout(self.heartbeat_s):
                        news = await queue.get()
                except TimeoutError:
                    news = type(self._snapshot())(heartbeat=access_pb2.Heartbeat())
                if isinstance(news, Exception):
                    raise news
                yield news
        finally:
            self._readers.discard(queue)


def paged(items: Sequence[Any], size: int, token: str) -> tuple[list[Any], str]:
    """Items behind the one that the token names, and the next token."""
    keys = [str(getattr(item, item.DESCRIPTOR.fields_by_number[1].name)) for item in items]
    start = keys.index(token) + 1 if token else 0
    page = list(items[start : start + (size or 50)])
    more = start + len(page) < len(items)
    return page, keys[start + len(page) - 1] if more else ""


def found(stored: dict[str, Any], ids: Iterable[str]) -> list[Any]:
    """Those that exist, in the order asked."""
    return [stored[wanted] for wanted in ids if wanted in stored]
