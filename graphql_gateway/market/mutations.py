"""Commands on the market."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import strawberry
from satreel.market.v1 import market_service_pb2

from graphql_gateway.arguments import MemeId, NewId, about
from graphql_gateway.context import Info
from graphql_gateway.ids import bare_id, new_or_given
from graphql_gateway.market.types import Listing, Sale
from graphql_gateway.proto import shown
from graphql_gateway.scalars import Sats

ListingId: TypeAlias = Annotated[strawberry.ID, about("The listing: its global id or UUID.")]


@strawberry.type
class MarketMutation:
    """What can be done on the market."""

    @strawberry.mutation(description="Offers a title of the viewer at a fixed price.")
    async def create_listing(
        self,
        info: Info,
        meme_id: MemeId,
        price_sats: Annotated[Sats, about("What the buyer will pay, at least 1,000 satoshis.")],
        id: NewId = None,
    ) -> Listing:
        """May be repeated with the same id."""
        request = market_service_pb2.CreateListingRequest(
            listing_id=new_or_given("Listing", id), meme_id=bare_id("Meme", meme_id), price_sats=price_sats
        )
        return shown(Listing, (await info.context.services.market.CreateListing(request)).listing)

    @strawberry.mutation(description="Takes a listing of the viewer back.")
    async def cancel_listing(self, info: Info, listing_id: ListingId) -> Listing:
        """May be repeated."""
        request = market_service_pb2.CancelListingRequest(listing_id=bare_id("Listing", listing_id))
        return shown(Listing, (await info.context.services.market.CancelListing(request)).listing)

    @strawberry.mutation(
        description="Buys a listed title for the viewer: money and title change hands together or not at all."
    )
    async def purchase(
        self,
        info: Info,
        listing_id: ListingId,
        expected_price_sats: Annotated[Sats, about("The price seen, so that nobody pays another.")],
        id: NewId = None,
    ) -> Sale:
        """May be repeated with the same id."""
        request = market_service_pb2.PurchaseRequest(
            sale_id=new_or_given("Sale", id),
            listing_id=bare_id("Listing", listing_id),
            expected_price_sats=expected_price_sats,
        )
        return shown(Sale, (await info.context.services.market.Purchase(request)).sale)
