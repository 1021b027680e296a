"""News of the market: published as the contract's events, and served to those who watch."""

from __future__ import annotations

from collections.abc import Callable

from satreel.market.v1 import market_service_pb2

from mesh.clock import Clock
from mesh.feeds import Feed
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Sale
from services.market.rpc import convert

FEED = "market"

_Event = market_service_pb2.MarketEvent


class FeedNews:
    """`News` over a feed of the mesh."""

    def __init__(self, feed: Feed, clock: Clock, new_id: Callable[[], str]) -> None:
        self._feed = feed
        self._clock = clock
        self._new_id = new_id

    def listing(self, listing: Listing) -> None:
        """A listing was made, changed or closed."""
        self._publish(_Event(listing=convert.listing(listing)))

    def offer(self, offer: Offer) -> None:
        """An offer was made or closed."""
        self._publish(_Event(offer=convert.offer(offer)))

    def sale(self, sale: Sale) -> None:
        """A title was sold."""
        self._publish(_Event(sale=convert.sale(sale)))

    def _publish(self, event: market_service_pb2.MarketEvent) -> None:
        event.id = self._new_id()
        event.at.CopyFrom(convert.timestamp(self._clock.now_ns()))
        self._feed.publish(event.SerializeToString())


async def snapshot() -> market_service_pb2.MarketSnapshot:
    """Who watches asks for the rest."""
    return market_service_pb2.MarketSnapshot()
