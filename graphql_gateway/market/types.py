"""Listings, sales and quotes."""

from __future__ import annotations

import enum
from datetime import datetime

from satreel.market.v1 import market_pb2, market_service_pb2
from strawberry import relay

from graphql_gateway.proto import proto_enum, proto_type
from graphql_gateway.scalars import Long, Sats


@proto_enum(market_pb2.ListingState, "ListingState")
class ListingState(enum.IntEnum):
    """Where a listing stands."""

    OPEN = 1
    SOLD = 2
    CANCELLED = 3
    SETTLING = 4


@proto_type(market_pb2.Listing)
class Listing(relay.Node):
    """A title offered at a fixed price."""

    id: relay.NodeID[str]
    price_sats: Sats
    state: ListingState
    created_at: datetime
    closed_at: datetime | None


@proto_type(market_service_pb2.Quote)
class Quote:
    """What the market knows of one meme."""

    open_listing: Listing | None
    last_price_sats: Sats
    sales: Long
    volume_sats: Sats
