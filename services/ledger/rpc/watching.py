"""WatchLedger: the feed of committed records, each told once and none left out without a fresh snapshot."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.mesh.v1.access_pb2 import Heartbeat as HeartbeatMessage

from mesh.feeds import Event, Feed, Heartbeat, Snapshot, watch

Updates = AsyncGenerator[pb.WatchLedgerResponse, None]


class _Missed(Exception):  # noqa: N818 - flow of control inside this file
    """A leader died before it told everything, or it was too much to tell."""


async def watch_ledger(
    feed: Feed, cursor: str, snapshot: Callable[[], Awaitable[pb.LedgerSnapshot]]
) -> Updates:
    """Endless. The feed has an event for every record, so a missing number shows what was not told."""
    while True:
        try:
            async with aclosing(_follow(feed, cursor, snapshot)) as updates:
                async for update in updates:
                    yield update
        except _Missed:
            cursor = ""


async def _follow(feed: Feed, cursor: str, snapshot: Callable[[], Awaitable[pb.LedgerSnapshot]]) -> Updates:
    # Number of the newest record told; None: the first event tells.
    told: int | None = None
    async with aclosing(watch(feed, cursor, snapshot=snapshot)) as updates:
        async for update in updates:
            match update:
                case Heartbeat():
                    yield pb.WatchLedgerResponse(cursor=update.cursor, heartbeat=HeartbeatMessage())
                case Snapshot():
                    told = update.state.journal_sequence
                    yield pb.WatchLedgerResponse(cursor=update.cursor, snapshot=update.state)
                case Event():
                    event = pb.LedgerEvent.FromString(update.payload)
                    number = int(event.id)
                    new = told is None or number > told
                    if new and (event.starts_anew or (told is not None and number > told + 1)):
                        raise _Missed
                    if new and _tells(event):
                        yield pb.WatchLedgerResponse(cursor=update.cursor, event=event)
                    told = number if told is None else max(told, number)


def _tells(event: pb.LedgerEvent) -> bool:
    return bool(event.HasField("moved") or event.tallies or event.titles or event.sessions)
