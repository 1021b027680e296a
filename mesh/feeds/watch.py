"""How every `Watch…` call is served: a snapshot, then what follows it; again whenever the thread is lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message
from satreel.mesh.v1 import access_pb2

from mesh.feeds.feed import HEARTBEAT_S, CursorExpired, Event, Feed, FeedAway, Heartbeat

State = TypeVar("State")


class Response(Protocol):
    """What all `Watch…Response` of the contracts have, beside `cursor`, `snapshot` and `heartbeat`."""

    @property
    def event(self) -> Message:
        """What was published."""
        ...


Told = TypeVar("Told", bound=Response)


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[State]):
    """All that is to be known at once. What follows `cursor` may already be contained in it."""

    cursor: str
    state: State


async def watch(
    feed: Feed,
    cursor: str,
    *,
    snapshot: Callable[[], Awaitable[State]],
    topics: Collection[str] | None = None,
    heartbeat_s: float = HEARTBEAT_S,
) -> AsyncGenerator[Snapshot[State] | Event | Heartbeat, None]:
    """Endless: goes on behind `cursor`, or begins with a snapshot when it is "" or has expired.

    While Redis is away a snapshot comes every `heartbeat_s`, with the cursor "". A consumer too slow for the
    events gets a new snapshot instead of them.
    """
    while True:
        try:
            if not cursor:
                # The cursor first: what happens in between then comes twice rather than not at all.
                cursor = feed.cursor
                yield Snapshot(cursor, await snapshot())
            async with aclosing(feed.subscribe(cursor, topics=topics, heartbeat_s=heartbeat_s)) as updates:
                async for update in updates:
                    yield update
        except CursorExpired:
            cursor = ""
        except FeedAway:
            cursor = ""
            yield Snapshot("", await snapshot())
            await feed.wait_live(heartbeat_s)


async def responses(
    feed: Feed, cursor: str, response: Callable[..., Told], *, snapshot: Callable[[], Awaitable[Message]]
) -> AsyncGenerator[Told, None]:
    """What `watch` gives, as answers of a contract whose events are published as they are."""
    async with aclosing(watch(feed, cursor, snapshot=snapshot)) as updates:
        async for update in updates:
            match update:
                case Snapshot():
                    yield response(cursor=update.cursor, snapshot=update.state)
                case Event():
                    told = response(cursor=update.cursor)
                    told.event.ParseFromString(update.payload)
                    yield told
                case Heartbeat():
                    yield response(cursor=update.cursor, heartbeat=access_pb2.Heartbeat())
