"""What changes on the market."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

import strawberry
from satreel.market.v1 import market_service_pb2

from graphql_gateway.arguments import MemeIdFilter
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Subscription
from graphql_gateway.ids import bare_id
from graphql_gateway.live.cursors import CURSOR, AfterNews, decode, encode
from graphql_gateway.live.telling import Delivery, Telling
from graphql_gateway.market.types import Listing, Offer, Sale
from graphql_gateway.proto import shown
from graphql_gateway.safety.declared import SAME_FOR_ALL

_FEED = "market"


@strawberry.type(
    description="Something happened on the market: a listing or an offer was made, changed or closed, or a "
    "title was sold."
)
class MarketActivity:
    """One event of the market."""

    cursor: str = strawberry.field(description=CURSOR)
    at: datetime = strawberry.field(description="When.")
    listing: Listing | None = strawberry.field(description="The listing as it is now, when it was one.")
    offer: Offer | None = strawberry.field(description="The offer as it is now, when it was one.")
    sale: Sale | None = strawberry.field(description="The sale, when it was one.")


@part_of(Subscription)
class MarketSubscription:
    """The live market."""

    @strawberry.subscription(
        description="Listings and offers made, changed and closed, and sales, from the next event on; of one "
        f"meme, or of all. {Delivery.NEWS.value}",
        metadata=SAME_FOR_ALL | Delivery.NEWS.metadata,
    )
    async def market_activity(
        self, info: Info, meme_id: MemeIdFilter = None, after: AfterNews = None
    ) -> AsyncIterator[MarketActivity]:
        """Ends never; starts with the next event, or behind a cursor."""
        meme = bare_id("Meme", meme_id) if meme_id else None
        behind = decode(_FEED, after)
        async with aclosing(info.context.live.market.events(behind)) as events:
            async for one in events:
                if meme in {None, _meme_of(one.event)}:
                    await info.context.renew()
                    info.context.telling = Telling(
                        now=None, position=one.position, is_newest=one.is_newest, is_past=one.is_past
                    )
                    yield _activity(one.event, one.cursor)


def _meme_of(event: market_service_pb2.MarketEvent) -> str:
    subject = event.WhichOneof("subject")
    return str(getattr(event, subject).meme_id) if subject else ""


def _activity(event: market_service_pb2.MarketEvent, cursor: str) -> MarketActivity:
    return MarketActivity(
        cursor=encode(_FEED, cursor),
        at=event.at,  # type: ignore[arg-type] # the scalar shows a Timestamp
        listing=shown(Listing, event.listing) if event.HasField("listing") else None,
        offer=shown(Offer, event.offer) if event.HasField("offer") else None,
        sale=shown(Sale, event.sale) if event.HasField("sale") else None,
    )
