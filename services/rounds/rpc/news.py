"""News of rounds on their feed."""

from __future__ import annotations

from satreel.rounds.v1 import rounds_service_pb2

from mesh.clock import Clock
from mesh.feeds import Feed
from services.rounds.app.ports import Leaderboard, RoundView
from services.rounds.rpc.mapping import leaderboard_message, round_message

ID_DIGITS = 20


class FeedNews:
    """Publishes events of the contract. A feed that is away keeps or loses them; watchers then start anew."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._last_ns = 0

    def round_changed(self, view: RoundView) -> None:
        """A round changed its state, anchor, entries or sums."""
        self._publish(rounds_service_pb2.RoundsEvent(round=round_message(view)))

    def standings_moved(self, board: Leaderboard) -> None:
        """The leaderboard moved."""
        self._publish(rounds_service_pb2.RoundsEvent(leaderboard=leaderboard_message(board)))

    def _publish(self, event: rounds_service_pb2.RoundsEvent) -> None:
        now_ns = self._clock.now_ns()
        # Ids increase even if the clock does not.
        self._last_ns = max(self._last_ns + 1, now_ns)
        event.id = f"{self._last_ns:0{ID_DIGITS}d}"
        event.at.FromNanoseconds(now_ns)
        self._feed.publish(event.SerializeToString())
