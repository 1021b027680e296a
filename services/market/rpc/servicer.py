"""The market's calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from satreel.market.v1 import market_service_pb2 as pb
from satreel.market.v1 import market_service_pb2_grpc

from mesh import caller
from mesh.feeds import Feed, responses
from mesh.times import instant_ns
from services.market.app.parts import Parts
from services.market.app.ports import ListingFilter, OfferFilter, SaleFilter
from services.market.domain.values import NEVER, ListingId, MemeId, OfferId, SaleId, UserId
from services.market.rpc import convert, news

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class MarketServicer(market_service_pb2_grpc.MarketServiceServicer):
    """MarketService."""

    def __init__(self, parts: Parts, feed: Feed) -> None:
        self._parts = parts
        self._feed = feed

    async def CreateListing(self, request: pb.CreateListingRequest, _: Context) -> pb.CreateListingResponse:
        listing = await self._parts.selling.create(
            listing_id=ListingId(request.listing_id),
            meme_id=MemeId(request.meme_id),
            seller_id=_user_id(),
            terms=convert.terms(
                request.price_sats, request.expires_at if request.HasField("expires_at") else None
            ),
        )
        return pb.CreateListingResponse(listing=convert.listing(listing))

    async def UpdateListing(self, request: pb.UpdateListingRequest, _: Context) -> pb.UpdateListingResponse:
        listing = await self._parts.selling.change(
            ListingId(request.listing_id),
            user_id=_user_id(),
            expected_version=request.expected_version,
            price_sats=request.price_sats if request.HasField("price_sats") else None,
            expires_ns=_expires_ns(request),
        )
        return pb.UpdateListingResponse(listing=convert.listing(listing))

    async def CancelListing(self, request: pb.CancelListingRequest, _: Context) -> pb.CancelListingResponse:
        listing = await self._parts.selling.cancel(
            ListingId(request.listing_id), user_id=_user_id(), is_admin=caller.current().is_admin
        )
        return pb.CancelListingResponse(listing=convert.listing(listing))

    async def Purchase(self, request: pb.PurchaseRequest, _: Context) -> pb.PurchaseResponse:
        sale = await self._parts.buying.purchase(
            sale_id=SaleId(request.sale_id),
            listing_id=ListingId(request.listing_id),
            buyer_id=_user_id(),
            expected_price_sats=request.expected_price_sats,
        )
        return pb.PurchaseResponse(sale=convert.sale(sale))

    async def MakeOffer(self, request: pb.MakeOfferRequest, _: Context) -> pb.MakeOfferResponse:
        offer = await self._parts.bidding.make(
            offer_id=OfferId(request.offer_id),
            meme_id=MemeId(request.meme_id),
            buyer_id=_user_id(),
            terms=convert.terms(request.price_sats, request.expires_at),
        )
        return pb.MakeOfferResponse(offer=convert.offer(offer))

    async def CancelOffer(self, request: pb.CancelOfferRequest, _: Context) -> pb.CancelOfferResponse:
        offer = await self._parts.bidding.cancel(
            OfferId(request.offer_id), user_id=_user_id(), is_admin=caller.current().is_admin
        )
        return pb.CancelOfferResponse(offer=convert.offer(offer))

    async def AcceptOffer(self, request: pb.AcceptOfferRequest, _: Context) -> pb.AcceptOfferResponse:
        sale = await self._parts.accepting.accept(
            sale_id=SaleId(request.sale_id), offer_id=OfferId(request.offer_id), user_id=_user_id()
        )
        return pb.AcceptOfferResponse(sale=convert.sale(sale))

    async def GetListing(self, request: pb.GetListingRequest, _: Context) -> pb.GetListingResponse:
        listing = await self._parts.reading.listing(ListingId(request.listing_id))
        return pb.GetListingResponse(listing=convert.listing(listing))

    async def BatchGetListings(
        self, request: pb.BatchGetListingsRequest, _: Context
    ) -> pb.BatchGetListingsResponse:
        listings = await self._parts.reading.listings([ListingId(asked) for asked in request.listing_ids])
        return pb.BatchGetListingsResponse(listings=[convert.listing(listing) for listing in listings])

    async def ListListings(self, request: pb.ListListingsRequest, _: Context) -> pb.ListListingsResponse:
        which = ListingFilter(
            state=convert.LISTING_STATES.get(request.state),
            meme_id=MemeId(request.meme_id) if request.meme_id else None,
            seller_id=UserId(request.seller_id) if request.seller_id else None,
        )
        listings, following = await self._parts.reading.list_listings(
            which, page_size=request.page_size, token=request.page_token
        )
        return pb.ListListingsResponse(
            listings=[convert.listing(listing) for listing in listings], next_page_token=following
        )

    async def GetOffer(self, request: pb.GetOfferRequest, _: Context) -> pb.GetOfferResponse:
        offer = await self._parts.reading.offer(OfferId(request.offer_id))
        return pb.GetOfferResponse(offer=convert.offer(offer))

    async def BatchGetOffers(
        self, request: pb.BatchGetOffersRequest, _: Context
    ) -> pb.BatchGetOffersResponse:
        offers = await self._parts.reading.offers([OfferId(asked) for asked in request.offer_ids])
        return pb.BatchGetOffersResponse(offers=[convert.offer(offer) for offer in offers])

    async def ListOffers(self, request: pb.ListOffersRequest, _: Context) -> pb.ListOffersResponse:
        which = OfferFilter(
            state=convert.OFFER_STATES.get(request.state),
            meme_id=MemeId(request.meme_id) if request.meme_id else None,
            seller_id=UserId(request.seller_id) if request.seller_id else None,
            buyer_id=UserId(request.buyer_id) if request.buyer_id else None,
        )
        offers, following = await self._parts.reading.list_offers(
            which, page_size=request.page_size, token=request.page_token
        )
        return pb.ListOffersResponse(
            offers=[convert.offer(offer) for offer in offers], next_page_token=following
        )

    async def BatchGetQuotes(
        self, request: pb.BatchGetQuotesRequest, _: Context
    ) -> pb.BatchGetQuotesResponse:
        quotes = await self._parts.reading.quotes([MemeId(asked) for asked in request.meme_ids])
        return pb.BatchGetQuotesResponse(quotes=[convert.quote(quote, listing) for quote, listing in quotes])

    async def GetSale(self, request: pb.GetSaleRequest, _: Context) -> pb.GetSaleResponse:
        return pb.GetSaleResponse(sale=convert.sale(await self._parts.reading.sale(SaleId(request.sale_id))))

    async def ListSales(self, request: pb.ListSalesRequest, _: Context) -> pb.ListSalesResponse:
        which = SaleFilter(
            meme_id=MemeId(request.meme_id) if request.meme_id else None,
            user_id=UserId(request.user_id) if request.user_id else None,
        )
        sales, following = await self._parts.reading.list_sales(
            which, page_size=request.page_size, token=request.page_token
        )
        return pb.ListSalesResponse(sales=[convert.sale(sale) for sale in sales], next_page_token=following)

    async def GetSeries(self, request: pb.GetSeriesRequest, _: Context) -> pb.GetSeriesResponse:
        series = await self._parts.reading.series(
            MemeId(request.meme_id),
            convert.STEPS[request.step],
            instant_ns(request.start),
            instant_ns(request.end),
        )
        return pb.GetSeriesResponse(candles=[convert.candle(place, candle) for place, candle in series])

    async def GetOverview(self, _request: pb.GetOverviewRequest, _: Context) -> pb.GetOverviewResponse:
        return pb.GetOverviewResponse(overview=convert.overview(await self._parts.reading.overview()))

    async def WatchMarket(
        self, request: pb.WatchMarketRequest, _: Context
    ) -> AsyncIterator[pb.WatchMarketResponse]:
        told = responses(self._feed, request.cursor, pb.WatchMarketResponse, snapshot=news.snapshot)
        async with aclosing(told):
            async for response in told:
                yield response


def _user_id() -> UserId:
    return UserId(caller.current().require_user())


def _expires_ns(request: pb.UpdateListingRequest) -> int | None:
    match request.WhichOneof("expiry"):
        case "expires_at":
            return convert.instant(request.expires_at)
        case "never_expires":
            return NEVER
    return None
