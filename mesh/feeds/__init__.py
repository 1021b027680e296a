"""Feeds: events from one process to many over Redis Streams, with cursors to come back to.

    async with open_feed(settings.redis_url, "rounds") as feed:
        feed.publish(event.SerializeToString())

        async with aclosing(responses(feed, request.cursor, WatchRoundsResponse, snapshot=current)) as told:
            async for response in told: ...

`watch` gives the same before it is made into a contract's messages.

Nothing that matters lives in a feed: with Redis away commands go on, and watchers get snapshots.
"""

from mesh.feeds.feed import CursorExpired, Event, Feed, FeedAway, Heartbeat, apart, open_feed
from mesh.feeds.watch import Snapshot, responses, watch

__all__ = [
    "CursorExpired",
    "Event",
    "Feed",
    "FeedAway",
    "Heartbeat",
    "Snapshot",
    "apart",
    "open_feed",
    "responses",
    "watch",
]
