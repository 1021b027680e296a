"""Commands on the market."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

import strawberry
from satreel.market.v1 import market_service_pb2

from graphql_gateway.arguments import MemeId, NewId, about
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Mutation
from graphql_gateway.ids import bare_id, new_or_given
from graphql_gateway.market.types import Listing, Offer, Sale
from graphql_gateway.proto import shown
from graphql_gateway.safety.access import SIGNED_IN
from graphql_gateway.scalars import Sats, timestamp

ListingId: TypeAlias = Annotated[strawberry.ID, about("The listing: its global id or UUID.")]
OfferId: TypeAlias = Annotated[strawberry.ID, about("The offer: its global id or UUID.")]


@part_of(Mutation)
class MarketMutation:
    """What can be done on the market."""

    @strawberry.mutation(description="Lists a title of the viewer at a fixed price.", directives=SIGNED_IN)
    async def create_listing(
        self,
        info: Info,
        meme_id: MemeId,
        price_sats: Annotated[Sats, about("What the buyer will pay, at least 1,000 satoshis.")],
        expires_at: Annotated[
            datetime | None, about("Nobody can buy it from then on; at most 365 days ahead. Null: never.")
        ] = None,
        id: NewId = None,
    ) -> Listing:
        """May be repeated with the same id."""
        request = market_service_pb2.CreateListingRequest(
            listing_id=new_or_given("Listing", id),
            meme_id=bare_id("Meme", meme_id),
            price_sats=price_sats,
            expires_at=None if expires_at is None else timestamp(expires_at),
        )
        return shown(Listing, (await info.context.services.market.CreateListing(request)).listing)

    @strawberry.mutation(
        description="Changes price or expiry of a listing of the viewer, if it is still the version seen. "
        "What is not given stays as it is.",
        directives=SIGNED_IN,
    )
    async def update_listing(
        self,
        info: Info,
        listing_id: ListingId,
        expected_version: Annotated[int, about("The version seen, so that no other is changed.")],
        price_sats: Annotated[Sats | None, about("The new price, at least 1,000 satoshis.")] = None,
        expires_at: Annotated[
            datetime | None, about("The new expiry, at most 365 days ahead; null: it never expires.")
        ] = strawberry.UNSET,
    ) -> Listing:
        """May be repeated."""
        request = market_service_pb2.UpdateListingRequest(
            listing_id=bare_id("Listing", listing_id),
            expected_version=expected_version,
            price_sats=price_sats,
            expires_at=timestamp(expires_at) if expires_at else None,
        )
        if expires_at is None:
            request.never_expires = True
        return shown(Listing, (await info.context.services.market.UpdateListing(request)).listing)

    @strawberry.mutation(description="Takes a listing of the viewer back.", directives=SIGNED_IN)
    async def cancel_listing(self, info: Info, listing_id: ListingId) -> Listing:
        """May be repeated."""
        request = market_service_pb2.CancelListingRequest(listing_id=bare_id("Listing", listing_id))
        return shown(Listing, (await info.context.services.market.CancelListing(request)).listing)

    @strawberry.mutation(
        description="Buys a listed title for the viewer: money and title change hands together or not "
        "at all.",
        directives=SIGNED_IN,
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

    @strawberry.mutation(
        description="Offers the viewer's money to the owner of a title. It is held until the offer is "
        "accepted, cancelled or expired, or the title is sold otherwise.",
        directives=SIGNED_IN,
    )
    async def make_offer(
        self,
        info: Info,
        meme_id: MemeId,
        price_sats: Annotated[Sats, about("What the viewer would pay, at least 1,000 satoshis.")],
        expires_at: Annotated[datetime, about("Nobody can accept it from then on; at most 30 days ahead.")],
        id: NewId = None,
    ) -> Offer:
        """May be repeated with the same id."""
        request = market_service_pb2.MakeOfferRequest(
            offer_id=new_or_given("Offer", id),
            meme_id=bare_id("Meme", meme_id),
            price_sats=price_sats,
            expires_at=timestamp(expires_at),
        )
        return shown(Offer, (await info.context.services.market.MakeOffer(request)).offer)

    @strawberry.mutation(
        description="Takes an offer of the viewer back; its money is free again.", directives=SIGNED_IN
    )
    async def cancel_offer(self, info: Info, offer_id: OfferId) -> Offer:
        """May be repeated."""
        request = market_service_pb2.CancelOfferRequest(offer_id=bare_id("Offer", offer_id))
        return shown(Offer, (await info.context.services.market.CancelOffer(request)).offer)

    @strawberry.mutation(
        description="Sells a title of the viewer to who made the offer: money and title change hands "
        "together or not at all. An open listing of the title is taken back.",
        directives=SIGNED_IN,
    )
    async def accept_offer(self, info: Info, offer_id: OfferId, id: NewId = None) -> Sale:
        """May be repeated with the same id."""
        request = market_service_pb2.AcceptOfferRequest(
            sale_id=new_or_given("Sale", id), offer_id=bare_id("Offer", offer_id)
        )
        return shown(Sale, (await info.context.services.market.AcceptOffer(request)).sale)
