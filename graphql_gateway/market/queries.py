"""Queries on the market."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.market.v1 import market_service_pb2

from graphql_gateway.arguments import After, First, MemeIdFilter, about
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.ids import bare_id
from graphql_gateway.market.types import Listing, ListingState, Sale


@strawberry.type
class MarketQuery:
    """What is asked about the market."""

    @strawberry.field(description="Listings, the newest first; open ones unless another state is named.")
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

    @strawberry.field(description="Sales, the newest first.")
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
