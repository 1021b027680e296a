"""Queries on the market."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry
from satreel.market.v1 import market_service_pb2

from graphql_gateway.arguments import After, First, MemeId, MemeIdFilter, about
from graphql_gateway.composition import part_of
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.entities import Query
from graphql_gateway.ids import bare_id
from graphql_gateway.market.types import (
    Candle,
    Listing,
    ListingState,
    MarketOverview,
    MarketStep,
    Offer,
    OfferState,
    Sale,
)
from graphql_gateway.proto import shown, shown_all
from graphql_gateway.safety.declared import CALL, PAGE, PUBLIC, SAME_FOR_ALL, at_most
from graphql_gateway.scalars import timestamp


@part_of(Query)
class MarketQuery:
    """What is asked about the market."""

    @strawberry.field(
        description="Listings, the newest first; open ones unless another state is named.",
        directives=(*PAGE, *PUBLIC),
        metadata=SAME_FOR_ALL,
    )
    async def listings(
        self,
        info: Info,
        state: Annotated[
            ListingState | None, about("Only those in this state; null for all.")
        ] = ListingState.OPEN,
        meme_id: MemeIdFilter = None,
        seller_id: Annotated[strawberry.ID | None, about("Only of this seller.")] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Listing]:
        """By state, meme and seller; a state of null means all."""
        meme = bare_id("Meme", meme_id) if meme_id else ""
        seller = bare_id("User", seller_id) if seller_id else ""

        async def fetch(size: int, token: str) -> Page:
            request = market_service_pb2.ListListingsRequest(
                state=int(state or 0),  # type: ignore[arg-type] # the contract's numbers
                meme_id=meme,
                seller_id=seller,
                page_size=size,
                page_token=token,
            )
            response = await info.context.services.market.ListListings(request)
            return Page(response.listings, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(
        description="Offers, the newest first; open ones unless another state is named.", directives=PAGE
    )
    async def offers(
        self,
        info: Info,
        state: Annotated[
            OfferState | None, about("Only those in this state; null for all.")
        ] = OfferState.OPEN,
        meme_id: MemeIdFilter = None,
        seller_id: Annotated[strawberry.ID | None, about("Only to this owner.")] = None,
        buyer_id: Annotated[strawberry.ID | None, about("Only of this buyer.")] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Offer]:
        """By state, meme, owner and buyer; a state of null means all."""
        meme = bare_id("Meme", meme_id) if meme_id else ""
        seller = bare_id("User", seller_id) if seller_id else ""
        buyer = bare_id("User", buyer_id) if buyer_id else ""

        async def fetch(size: int, token: str) -> Page:
            request = market_service_pb2.ListOffersRequest(
                state=int(state or 0),  # type: ignore[arg-type] # the contract's numbers
                meme_id=meme,
                seller_id=seller,
                buyer_id=buyer,
                page_size=size,
                page_token=token,
            )
            response = await info.context.services.market.ListOffers(request)
            return Page(response.offers, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(
        description="Prices of a meme over time, exactly as its sales make them, the oldest first; at most "
        "1,000 steps. Steps without a sale are left out.",
        directives=(*CALL, *at_most(1_000), *PUBLIC),
        metadata=SAME_FOR_ALL,
    )
    async def price_series(
        self,
        info: Info,
        meme_id: MemeId,
        step: Annotated[MarketStep, about("Length of its steps.")],
        start: Annotated[datetime, about("A moment in the first step.")],
        end: Annotated[datetime, about("The first moment that counts no more; a step it cuts is whole.")],
    ) -> list[Candle]:
        """Open, high, low, close, volume and number of sales for each step."""
        request = market_service_pb2.GetSeriesRequest(
            meme_id=bare_id("Meme", meme_id),
            step=int(step),  # type: ignore[arg-type] # the contract's numbers
            start=timestamp(start),
            end=timestamp(end),
        )
        return shown_all(Candle, (await info.context.services.market.GetSeries(request)).candles)

    @strawberry.field(
        description="The whole market in figures, at most 10 seconds old.",
        directives=PUBLIC,
        metadata=SAME_FOR_ALL,
    )
    async def market_overview(self, info: Info) -> MarketOverview:
        """Open listings, floor price, sales, volume."""
        request = market_service_pb2.GetOverviewRequest()
        return shown(MarketOverview, (await info.context.services.market.GetOverview(request)).overview)

    @strawberry.field(
        description="Sales, the newest first.", directives=(*PAGE, *PUBLIC), metadata=SAME_FOR_ALL
    )
    async def sales(
        self,
        info: Info,
        meme_id: MemeIdFilter = None,
        user_id: Annotated[strawberry.ID | None, about("Only what this user bought or sold.")] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Sale]:
        """By meme and by who bought or sold."""
        meme = bare_id("Meme", meme_id) if meme_id else ""
        user = bare_id("User", user_id) if user_id else ""

        async def fetch(size: int, token: str) -> Page:
            request = market_service_pb2.ListSalesRequest(
                meme_id=meme, user_id=user, page_size=size, page_token=token
            )
            response = await info.context.services.market.ListSales(request)
            return Page(response.sales, response.next_page_token)

        return await connect(fetch, first=first, after=after)
