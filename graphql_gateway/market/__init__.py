"""Listings and sales of titles."""

from __future__ import annotations

from graphql_gateway.composition import Domain
from graphql_gateway.market.mutations import MarketMutation
from graphql_gateway.market.queries import MarketQuery
from graphql_gateway.market.subscriptions import MarketSubscription
from graphql_gateway.market.types import Listing, MemeOnMarket, Offer, Sale

DOMAIN = Domain(
    "market",
    parts=(
        MarketQuery,
        MarketMutation,
        MarketSubscription,
        MemeOnMarket,
    ),
    nodes=(
        Listing,
        Offer,
        Sale,
    ),
    feeds=("market",),
)
