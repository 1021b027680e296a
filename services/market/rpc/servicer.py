"""The market's calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from satreel.market.v1 import market_service_pb2 as pb
from satreel.market.v1 import market_service_pb2_grpc

from mesh import caller
from mesh.feeds import Feed
from services.market.app.buying import Buying
from services.market.app.ports import ListingFilter, SaleFilter
from services.market.app.reading import Reading
from services.market.app.selling import Selling
from services.market.domain.listings import ListingId, MemeId, SaleId, UserId
from services.market.rpc import convert, news

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class MarketServicer(market_service_pb2_grpc.MarketServiceServicer):
    """MarketService."""

    def __init__(self, *, selling: Selling, buying: Buying, reading: Reading, feed: Feed) -> None:
        self._selling = selling
        self._buying = buying
        self._reading = reading
        self._feed = feed

    async def CreateListing(self, request: pb.CreateListingRequest, _: Context) -> pb.CreateListingResponse:
        listing = await self._selling.create(
            listing_id=ListingId(request.listing_id),
            meme_id=MemeId(request.meme_id),
            seller_id=_user_id(),
            price_sats=request.price_sats,
        )
        return pb.CreateListingResponse(listing=convert.listing(listing))

    async def CancelListing(self, request: pb.CancelListingRequest, _: Context) -> pb.CancelListingResponse:
        listing = await self._selling.cancel(
            ListingId(request.listing_id), user_id=_user_id(), is_admin=caller.current().is_admin
        )
        return pb.CancelListingResponse(listing=convert.listing(listing))

    async def Purchase(self, request: pb.PurchaseRequest, _: Context) -> pb.PurchaseResponse:
        sale = await self._buying.purchase(
            sale_id=SaleId(request.sale_id),
            listing_id=ListingId(request.listing_id),
            buyer_id=_user_id(),
            expected_price_sats=request.expected_price_sats,
        )
        return pb.PurchaseResponse(sale=convert.sale(sale))

    async def GetListing(self, request: pb.GetListingRequest, _: Context) -> pb.GetListingResponse:
        listing = await self._reading.listing(ListingId(request.listing_id))
        return pb.GetListingResponse(listing=convert.listing(listing))

    async def BatchGetListings(
        self, request: pb.BatchGetListingsRequest, _: Context
    ) -> pb.BatchGetListingsResponse:
        listings = await self._reading.listings([ListingId(asked) for asked in request.listing_ids])
        return pb.BatchGetListingsResponse(listings=[convert.listing(listing) for listing in listings])

    async def ListListings(self, request: pb.ListListingsRequest, _: Context) -> pb.ListListingsResponse:
        which = ListingFilter(
            state=convert.STATES.get(request.state),
            meme_id=MemeId(request.meme_id) if request.meme_id else None,
            seller_id=UserId(request.seller_id) if request.seller_id else None,
        )
        listings, following = await self._reading.list_listings(
            which, page_size=request.page_size, token=request.page_token
        )
        return pb.ListListingsResponse(
            listings=[convert.listing(listing) for listing in listings], next_page_token=following
        )

    async def BatchGetQuotes(
        self, request: pb.BatchGetQuotesRequest, _: Context
    ) -> pb.BatchGetQuotesResponse:
        quotes = await self._reading.quotes([MemeId(asked) for asked in request.meme_ids])
        return pb.BatchGetQuotesResponse(quotes=[convert.quote(quote, listing) for quote, listing in quotes])

    async def GetSale(self, request: pb.GetSaleRequest, _: Context) -> pb.GetSaleResponse:
        return pb.GetSaleResponse(sale=convert.sale(await self._reading.sale(SaleId(request.sale_id))))

    async def ListSales(self, request: pb.ListSalesRequest, _: Context) -> pb.ListSalesResponse:
        which = SaleFilter(
            meme_id=MemeId(request.meme_id) if request.meme_id else None,
            user_id=UserId(request.user_id) if request.user_id else None,
        )
        sales, following = await self._reading.list_sales(
            which, page_size=request.page_size, token=request.page_token
        )
        return pb.ListSalesResponse(sales=[convert.sale(sale) for sale in sales], next_page_token=following)

    async def WatchMarket(
        self, request: pb.WatchMarketRequest, _: Context
    ) -> AsyncIterator[pb.WatchMarketResponse]:
        async for response in news.follow(self._feed, request.cursor):
            yield response


def _user_id() -> UserId:
    return UserId(caller.current().require_user())
