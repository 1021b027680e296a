"""Feeds: events from one process to many over Redis Streams, with cursors to come back to.

    async with open_feed(settings.redis_url, "rounds") as feed:
        feed.publish(event.SerializeToString())

        async for update in watch(feed, request.cursor, snapshot=current_round):
            match update:
                case Snapshot(cursor, state): ...
                case Event(cursor, payload): ...
                case Heartbeat(cursor): ...

Nothing that matters lives in a feed: with Redis away commands go on, and watchers get snapshots.
"""

from mesh.feeds.feed import CursorExpired, Event, Feed, FeedAway, Heartbeat, apart, open_feed
from mesh.feeds.watch import Snapshot, watch

__all__ = [
    "CursorExpired",
    "Event",
    "Feed",
    "FeedAway",
    "Heartbeat",
    "Snapshot",
    "apart",
    "open_feed",
    "watch",
]
