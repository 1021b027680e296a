"""A simple market."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from satreel.market.v1 import market_pb2, market_service_pb2, market_service_pb2_grpc

from mesh import caller
from mesh.errors import Code, Failure
from tests.gateway.fakes.base import AT, Feed, Log, found, missing


class InsufficientFunds(Failure):
    """The balance does not cover this."""

    code = Code.FAILED_PRECONDITION
    reason = "INSUFFICIENT_FUNDS"


class FakeMarket(market_service_pb2_grpc.MarketServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.listings: dict[str, market_pb2.Listing] = {}
        self.offers: dict[str, market_pb2.Offer] = {}
        self.sales: dict[str, market_pb2.Sale] = {}
        self.feed = Feed(
            lambda: market_service_pb2.WatchMarketResponse(
                cursor="m0", snapshot=market_service_pb2.MarketSnapshot()
            )
        )

    async def BatchGetListings(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        listings = found(self.listings, request.listing_ids)
        return market_service_pb2.BatchGetListingsResponse(listings=listings)

    async def BatchGetQuotes(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        by_meme: dict[str, market_service_pb2.Quote] = defaultdict(market_service_pb2.Quote)
        for listing in self.listings.values():
            by_meme[listing.meme_id].open_listing.CopyFrom(listing)
        for meme_id in request.meme_ids:
            by_meme[meme_id].meme_id = meme_id
        quotes = [by_meme[meme_id] for meme_id in request.meme_ids]
        return market_service_pb2.BatchGetQuotesResponse(quotes=quotes)

    async def CreateListing(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        listing = market_pb2.Listing(
            id=request.listing_id,
            meme_id=request.meme_id,
            seller_id=caller.current().require_user(),
            price_sats=request.price_sats,
            expires_at=request.expires_at if request.HasField("expires_at") else None,
            state=market_pb2.LISTING_STATE_OPEN,
            version=1,
        )
        self.listings[listing.id] = listing
        return market_service_pb2.CreateListingResponse(listing=listing)

    async def UpdateListing(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return market_service_pb2.UpdateListingResponse(listing=self.listings[request.listing_id])

    async def MakeOffer(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        offer = market_pb2.Offer(
            id=request.offer_id,
            meme_id=request.meme_id,
            buyer_id=caller.current().require_user(),
            price_sats=request.price_sats,
            expires_at=request.expires_at,
            state=market_pb2.OFFER_STATE_OPEN,
        )
        self.offers[offer.id] = offer
        return market_service_pb2.MakeOfferResponse(offer=offer)

    async def CancelOffer(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return market_service_pb2.CancelOfferResponse(offer=self.offers[request.offer_id])

    async def AcceptOffer(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        offer = self.offers[request.offer_id]
        sale = market_pb2.Sale(id=request.sale_id, offer_id=offer.id, price_sats=offer.price_sats, number=1)
        return market_service_pb2.AcceptOfferResponse(sale=sale)

    async def BatchGetOffers(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return market_service_pb2.BatchGetOffersResponse(offers=found(self.offers, request.offer_ids))

    async def ListOffers(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return market_service_pb2.ListOffersResponse(offers=list(self.offers.values()))

    async def GetSeries(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        candle = market_pb2.Candle(starts_at=request.start, open_sats=5, high_sats=9, sales=2)
        return market_service_pb2.GetSeriesResponse(candles=[candle])

    async def GetOverview(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        overview = market_service_pb2.Overview(at=AT, open_listings=3, floor_price_sats=1_500)
        return market_service_pb2.GetOverviewResponse(overview=overview)

    async def GetSale(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.sale_id not in self.sales:
            raise missing("SALE_NOT_FOUND")
        return market_service_pb2.GetSaleResponse(sale=self.sales[request.sale_id])

    async def Purchase(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        raise InsufficientFunds(available=3, needed=request.expected_price_sats)

    async def WatchMarket(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news
