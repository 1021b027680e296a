"""Listings, sales and quotes."""

from __future__ import annotations

import enum
from datetime import datetime

import strawberry
from satreel.market.v1 import market_pb2, market_service_pb2
from strawberry import relay

from graphql_gateway.accounts.types import LazyMeme, User
from graphql_gateway.context import Info
from graphql_gateway.proto import proto_enum, proto_type
from graphql_gateway.scalars import Long, Sats


@proto_enum(market_pb2.ListingState, "ListingState")
class ListingState(enum.IntEnum):
    """Where a listing stands."""

    OPEN = 1
    SOLD = 2
    CANCELLED = 3
    SETTLING = 4


@proto_type(market_pb2.Listing, loader="listings")
class Listing(relay.Node):
    """A title offered at a fixed price."""

    id: relay.NodeID[str]
    price_sats: Sats
    state: ListingState
    created_at: datetime
    closed_at: datetime | None

    @strawberry.field(description="The meme whose title is offered.")
    async def meme(self: market_pb2.Listing, info: Info) -> LazyMeme | None:
        """The meme."""
        return await info.context.loaders.memes.load(self.meme_id)

    @strawberry.field(description="Who sells.")
    async def seller(self: market_pb2.Listing, info: Info) -> User | None:
        """The seller."""
        return await info.context.loaders.users.load(self.seller_id)


@proto_type(market_pb2.Sale, loader="sales")
class Sale(relay.Node):
    """A title sold."""

    id: relay.NodeID[str]
    price_sats: Sats
    fee_sats: Sats
    sold_at: datetime

    @strawberry.field(description="The meme whose title was sold.")
    async def meme(self: market_pb2.Sale, info: Info) -> LazyMeme | None:
        """The meme."""
        return await info.context.loaders.memes.load(self.meme_id)

    @strawberry.field(description="Who sold.")
    async def seller(self: market_pb2.Sale, info: Info) -> User | None:
        """The seller."""
        return await info.context.loaders.users.load(self.seller_id)

    @strawberry.field(description="Who bought.")
    async def buyer(self: market_pb2.Sale, info: Info) -> User | None:
        """The buyer."""
        return await info.context.loaders.users.load(self.buyer_id)


@proto_type(market_service_pb2.Quote)
class Quote:
    """What the market knows of one meme."""

    open_listing: Listing | None
    last_price_sats: Sats
    sales: Long
    volume_sats: Sats
