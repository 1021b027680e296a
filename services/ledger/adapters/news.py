"""News over a feed in Redis. A Redis that is away costs watchers a fresh snapshot, and commands nothing."""

from __future__ import annotations

from collections.abc import Callable

from mesh.feeds import Feed
from services.ledger.app.journal import Head
from services.ledger.domain.views import Changes

FEED = "ledger"
# Records told to watchers that come back; fewer of large ones, an event of a full one has 500 kB.
FEED_LENGTH_MAX = 1_000


class FeedNews:
    """Publishes an event for every committed record, empty ones too: a missing number shows a loss."""

    def __init__(self, feed: Feed, show: Callable[[Head, Changes], bytes]) -> None:
        self._feed = feed
        self._show = show

    def committed(self, head: Head, changes: Changes) -> None:
        """Hands the event to the feed, which never waits and never fails."""
        self._feed.publish(self._show(head, changes))
