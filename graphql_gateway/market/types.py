"""Listings, sales and quotes."""

from __future__ import annotations

import enum
from datetime import datetime

import strawberry
from satreel.content.v1 import content_pb2
from satreel.market.v1 import market_pb2, market_service_pb2
from strawberry import relay

from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Meme, User
from graphql_gateway.proto import proto_enum, proto_type
from graphql_gateway.safety.declared import SAME_FOR_ALL
from graphql_gateway.scalars import Long, Sats


@proto_enum(market_pb2.ListingState, "ListingState")
class ListingState(enum.IntEnum):
    """Where a listing stands."""

    OPEN = 1
    SOLD = 2
    CANCELLED = 3
    SETTLING = 4
    EXPIRED = 5


@proto_enum(market_pb2.OfferState, "OfferState")
class OfferState(enum.IntEnum):
    """Where an offer stands."""

    PENDING = 1
    OPEN = 2
    SETTLING = 3
    ACCEPTED = 4
    CANCELLED = 5
    EXPIRED = 6
    SUPERSEDED = 7
    REFUSED = 8


@proto_enum(market_pb2.Step, "MarketStep")
class MarketStep(enum.IntEnum):
    """Length of a step of a series."""

    HOUR = 1
    DAY = 2


@proto_type(market_pb2.Listing, loader="listings")
class Listing(relay.Node):
    """A title listed at a fixed price."""

    id: relay.NodeID[str]
    price_sats: Sats
    state: ListingState
    version: int
    created_at: datetime
    expires_at: datetime | None
    closed_at: datetime | None

    @strawberry.field(description="The meme whose title is listed.", metadata=SAME_FOR_ALL)
    async def meme(self: market_pb2.Listing, info: Info) -> Meme | None:
        """The meme."""
        return await info.context.loaders.memes.load(self.meme_id)

    @strawberry.field(description="Who sells.", metadata=SAME_FOR_ALL)
    async def seller(self: market_pb2.Listing, info: Info) -> User | None:
        """The seller."""
        return await info.context.loaders.users.load(self.seller_id)


@proto_type(market_pb2.Offer, loader="offers")
class Offer(relay.Node):
    """Money offered for a title."""

    id: relay.NodeID[str]
    price_sats: Sats
    state: OfferState
    created_at: datetime
    expires_at: datetime
    closed_at: datetime | None

    @strawberry.field(description="The meme whose title is wanted.", metadata=SAME_FOR_ALL)
    async def meme(self: market_pb2.Offer, info: Info) -> Meme | None:
        """The meme."""
        return await info.context.loaders.memes.load(self.meme_id)

    @strawberry.field(description="The owner it was made to.", metadata=SAME_FOR_ALL)
    async def seller(self: market_pb2.Offer, info: Info) -> User | None:
        """The owner."""
        return await info.context.loaders.users.load(self.seller_id)

    @strawberry.field(description="Who offers.", metadata=SAME_FOR_ALL)
    async def buyer(self: market_pb2.Offer, info: Info) -> User | None:
        """The buyer."""
        return await info.context.loaders.users.load(self.buyer_id)


@proto_type(market_pb2.Sale, loader="sales")
class Sale(relay.Node):
    """A title sold."""

    id: relay.NodeID[str]
    price_sats: Sats
    fee_sats: Sats
    sold_at: datetime
    number: Long

    @strawberry.field(
        description="The listing that was bought; null when an offer was accepted.", metadata=SAME_FOR_ALL
    )
    async def listing(self: market_pb2.Sale, info: Info) -> Listing | None:
        """The listing."""
        return await info.context.loaders.listings.load(self.listing_id) if self.listing_id else None

    @strawberry.field(
        description="The offer that was accepted; null when a listing was bought.", metadata=SAME_FOR_ALL
    )
    async def offer(self: market_pb2.Sale, info: Info) -> Offer | None:
        """The offer."""
        return await info.context.loaders.offers.load(self.offer_id) if self.offer_id else None

    @strawberry.field(description="The meme whose title was sold.", metadata=SAME_FOR_ALL)
    async def meme(self: market_pb2.Sale, info: Info) -> Meme | None:
        """The meme."""
        return await info.context.loaders.memes.load(self.meme_id)

    @strawberry.field(description="Who sold.", metadata=SAME_FOR_ALL)
    async def seller(self: market_pb2.Sale, info: Info) -> User | None:
        """The seller."""
        return await info.context.loaders.users.load(self.seller_id)

    @strawberry.field(description="Who bought.", metadata=SAME_FOR_ALL)
    async def buyer(self: market_pb2.Sale, info: Info) -> User | None:
        """The buyer."""
        return await info.context.loaders.users.load(self.buyer_id)


@proto_type(market_service_pb2.Quote)
class Quote:
    """What the market knows of one meme."""

    open_listing: Listing | None
    floor_price_sats: Sats
    last_price_sats: Sats
    last_sold_at: datetime | None
    sales: Long
    volume_sats: Sats


@part_of(Meme)
class MemeOnMarket:
    """What the market knows of a meme."""

    @strawberry.field(description="What the market knows of it.", metadata=SAME_FOR_ALL)
    async def quote(self: content_pb2.Meme, info: Info) -> Quote | None:
        """Open listing, last price and volume."""
        return await info.context.loaders.quotes.load(self.id)


@proto_type(market_pb2.Candle)
class Candle:
    """The sales within one step of a series."""

    starts_at: datetime
    open_sats: Sats
    high_sats: Sats
    low_sats: Sats
    close_sats: Sats
    volume_sats: Sats
    sales: Long


@proto_type(market_service_pb2.Overview, name="MarketOverview")
class MarketOverview:
    """The whole market in figures."""

    at: datetime
    open_listings: Long
    floor_price_sats: Sats
    sales: Long
    volume_sats: Sats
