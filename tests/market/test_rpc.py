"""The contract over real channels: to the market, and from it to a ledger and a chain that speak theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_pb2, market_service_pb2_grpc
from satreel.market.v1 import market_service_pb2 as pb

from mesh.clock import ManualClock
from mesh.errors import Code, Failure, RemoteFailure, Unavailable
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.testing import LoopbackServer, serving
from services.market.adapters.peers import GrpcChain, GrpcLedger
from services.market.domain import failures
from services.market.rpc.news import FeedNews
from services.market.rpc.servicer import MarketServicer
from tests.market.fakes import BookLedger
from tests.market.world import FUNDS, PRICE, World, open_world

Reason = ledger_pb2.ErrorReason


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """The ledger's contract over its state machine, as far as the market calls it, and refusals at will."""

    def __init__(self, ledger: BookLedger) -> None:
        self.ledger = ledger
        self.failure: Failure | None = None
        self.reason: Any = None

    async def GetTitle(self, request: Any, context: Any) -> ledger_service_pb2.GetTitleResponse:
        return await self.ledger.GetTitle(request)

    async def GetAccount(self, request: Any, context: Any) -> ledger_service_pb2.GetAccountResponse:
        return await self.ledger.GetAccount(request)

    async def CreateTransfers(self, request: Any, context: Any) -> ledger_service_pb2.CreateTransfersResponse:
        if self.failure is not None:
            raise self.failure
        if self.reason is None:
            return await self.ledger.CreateTransfers(request)
        reasons = [self.reason, *[Reason.ERROR_REASON_LINKED_TRANSFER_FAILED] * (len(request.transfers) - 1)]
        return ledger_service_pb2.CreateTransfersResponse(
            results=[ledger_pb2.TransferResult(reason=reason) for reason in reasons]
        )


class ChainServicer(chain_service_pb2_grpc.ChainServiceServicer):
    """The chain's contract, as far as the market calls it."""

    def __init__(self) -> None:
        self.moved: list[tuple[str, str, str]] = []

    async def TransferTitle(self, request: Any, context: Any) -> chain_service_pb2.TransferTitleResponse:
        self.moved.append((request.sale_id, request.meme_id, request.new_owner_id))
        return chain_service_pb2.TransferTitleResponse()


@dataclass
class Market:
    """The service under test over real channels, and the world behind it."""

    stub: market_service_pb2_grpc.MarketServiceStub
    server: LoopbackServer
    world: World
    ledger: LedgerServicer
    chain: ChainServicer

    def acting(self, user_id: str, *, admin: bool = False) -> Any:
        return self.server.user(user_id, roles={"admin"} if admin else ())

    async def list_title(
        self,
        seller: str,
        meme: str,
        price: int = PRICE,
        *,
        listing_id: str = "",
        expires_at: Timestamp | None = None,
    ) -> market_pb2.Listing:
        request = pb.CreateListingRequest(
            listing_id=listing_id or uuid7(), meme_id=meme, price_sats=price, expires_at=expires_at
        )
        with self.acting(seller):
            return (await self.stub.CreateListing(request)).listing

    async def edit(
        self, seller: str, listing: market_pb2.Listing, version: int = 0, **fields: Any
    ) -> market_pb2.Listing:
        request = pb.UpdateListingRequest(
            listing_id=listing.id, expected_version=version or listing.version, **fields
        )
        with self.acting(seller):
            return (await self.stub.UpdateListing(request)).listing

    async def offer(
        self, buyer: str, meme: str, price: int = PRICE, *, offer_id: str = "", lasts_s: float = 60
    ) -> market_pb2.Offer:
        request = pb.MakeOfferRequest(
            offer_id=offer_id or uuid7(), meme_id=meme, price_sats=price, expires_at=self.after(lasts_s)
        )
        with self.acting(buyer):
            return (await self.stub.MakeOffer(request)).offer

    async def accept(self, seller: str, offer_id: str, sale_id: str = "") -> market_pb2.Sale:
        request = pb.AcceptOfferRequest(sale_id=sale_id or uuid7(), offer_id=offer_id)
        with self.acting(seller):
            return (await self.stub.AcceptOffer(request)).sale

    async def cancel_offer(self, user: str, offer_id: str, *, admin: bool = False) -> market_pb2.Offer:
        with self.acting(user, admin=admin):
            return (await self.stub.CancelOffer(pb.CancelOfferRequest(offer_id=offer_id))).offer

    async def get_offer(self, offer_id: str) -> market_pb2.Offer:
        return (await self.stub.GetOffer(pb.GetOfferRequest(offer_id=offer_id))).offer

    def after(self, seconds: float) -> Timestamp:
        at = Timestamp()
        at.FromNanoseconds(self.world.after(seconds))
        return at

    async def buy(
        self, buyer: str, listing: market_pb2.Listing, sale_id: str = "", price: int = PRICE
    ) -> market_pb2.Sale:
        request = pb.PurchaseRequest(
            sale_id=sale_id or uuid7(), listing_id=listing.id, expected_price_sats=price
        )
        with self.acting(buyer):
            return (await self.stub.Purchase(request)).sale

    async def cancel(self, user: str, listing_id: str, *, admin: bool = False) -> market_pb2.Listing:
        with self.acting(user, admin=admin):
            answer = await self.stub.CancelListing(pb.CancelListingRequest(listing_id=listing_id))
        return answer.listing

    async def get(self, listing_id: str) -> market_pb2.Listing:
        return (await self.stub.GetListing(pb.GetListingRequest(listing_id=listing_id))).listing


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Ids of these tests are made now: so is the world."""
    async with open_world(tmp_path, ManualClock(datetime.now(UTC))) as world:
        yield world


@pytest.fixture
async def market(world: World, valkey_url: str) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        feed = await stack.enter_async_context(open_feed(valkey_url, f"market-{uuid7()}"))
        # The generated servicers are abstract to the type checker; only what the market calls is here.
        ledger, chain = LedgerServicer(world.ledger), ChainServicer()  # type: ignore[abstract]
        ledger_server = await stack.enter_async_context(
            serving(
                "ledger",
                ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server,
                ledger,
                user_token_key=None,
            )
        )
        chain_server = await stack.enter_async_context(
            serving(
                "chain", chain_service_pb2_grpc.add_ChainServiceServicer_to_server, chain, user_token_key=None
            )
        )
        world.ledger_port = GrpcLedger(
            ledger_service_pb2_grpc.LedgerServiceStub(ledger_server.channel("market"))
        )
        world.chain_port = GrpcChain(chain_service_pb2_grpc.ChainServiceStub(chain_server.channel("market")))
        world.news_port = FeedNews(feed, world.clock, uuid7)
        world.start()
        servicer = MarketServicer(
            selling=world.selling,
            buying=world.buying,
            bidding=world.bidding,
            accepting=world.accepting,
            reading=world.reading,
            feed=feed,
        )
        adder = market_service_pb2_grpc.add_MarketServiceServicer_to_server
        server = await stack.enter_async_context(serving("market", adder, servicer, clock=world.clock))
        stub = market_service_pb2_grpc.MarketServiceStub(server.channel("gateway"))
        yield Market(stub, server, world, ledger, chain)


@contextmanager
def refused(reason: str, code: Code | None = None, **metadata: str) -> Any:
    with pytest.raises(RemoteFailure) as caught:
        yield
    assert caught.value.reason == reason
    assert code is None or caught.value.code == code
    assert metadata.items() <= caught.value.metadata.items()


def money(market: Market) -> str:
    return market.ledger.ledger.digest()


def a_person(market: Market, sats: int = FUNDS) -> str:
    user_id = uuid7()
    market.ledger.ledger.fund(user_id, sats)
    return user_id


def a_meme(market: Market, owner: str) -> str:
    meme_id = uuid7()
    market.ledger.ledger.issue(meme_id, owner)
    return meme_id


async def test_a_sale_over_real_channels(market: Market) -> None:
    seller, buyer = a_person(market), a_person(market)
    meme = a_meme(market, seller)
    listing = await market.list_title(seller, meme)
    assert listing.state == market_pb2.LISTING_STATE_OPEN
    assert not listing.HasField("closed_at")
    sale = await market.buy(buyer, listing)
    assert (sale.price_sats, sale.fee_sats, sale.buyer_id) == (PRICE, 100, buyer)
    assert market.ledger.ledger.owner_of(meme) == buyer
    sold = await market.get(listing.id)
    assert (sold.state, sold.sale_id) == (market_pb2.LISTING_STATE_SOLD, sale.id)
    assert sold.HasField("closed_at")
    assert (await market.stub.GetSale(pb.GetSaleRequest(sale_id=sale.id))).sale == sale
    assert await market.world.outbox.deliver()
    assert market.chain.moved == [(sale.id, meme, buyer)]
    quotes = await market.stub.BatchGetQuotes(pb.BatchGetQuotesRequest(meme_ids=[meme, uuid7()]))
    assert [(quote.sales, quote.last_price_sats, quote.volume_sats) for quote in quotes.quotes] == [
        (1, PRICE, PRICE),
        (0, 0, 0),
    ]
    assert not quotes.quotes[0].HasField("open_listing")


async def test_reasons_of_listing(market: Market) -> None:
    seller, other = a_person(market), a_person(market)
    meme = a_meme(market, seller)
    listing = await market.list_title(seller, meme)
    before = money(market)
    with refused("PRICE_TOO_LOW", Code.INVALID_ARGUMENT, minimum="1000"):
        await market.list_title(seller, a_meme(market, seller), 999)
    before = money(market)
    with refused("TITLE_NOT_FOUND", Code.NOT_FOUND):
        await market.list_title(seller, uuid7())
    with refused("NOT_OWNER", Code.PERMISSION_DENIED, owner_id=seller):
        await market.list_title(other, meme)
    with refused("ALREADY_LISTED", Code.ALREADY_EXISTS, listing_id=listing.id):
        await market.list_title(seller, meme)
    with refused("ID_REUSED", Code.ALREADY_EXISTS):
        await market.list_title(seller, meme, PRICE + 1, listing_id=listing.id)
    with refused("INVALID_ARGUMENT"):
        await market.list_title(seller, meme, listing_id="not-an-id")
    listed = await market.stub.ListListings(pb.ListListingsRequest())
    assert list(listed.listings) == [listing]
    assert money(market) == before


async def test_reasons_of_cancelling(market: Market) -> None:
    seller, other = a_person(market), a_person(market)
    listing = await market.list_title(seller, a_meme(market, seller))
    with refused("NOT_SELLER", Code.PERMISSION_DENIED):
        await market.cancel(other, listing.id)
    with refused("LISTING_NOT_FOUND", Code.NOT_FOUND):
        await market.cancel(seller, uuid7())
    assert await market.get(listing.id) == listing
    await market.buy(other, listing)
    sold = await market.get(listing.id)
    with refused("LISTING_CLOSED", Code.FAILED_PRECONDITION, state="SOLD"):
        await market.cancel(seller, listing.id)
    assert await market.get(listing.id) == sold
    listing = await market.list_title(seller, a_meme(market, seller))
    cancelled = await market.cancel(other, listing.id, admin=True)
    assert cancelled.state == market_pb2.LISTING_STATE_CANCELLED
    assert await market.cancel(seller, listing.id) == cancelled


async def test_reasons_of_purchase(market: Market) -> None:
    seller, buyer, poor, unknown = (a_person(market), a_person(market), a_person(market, 999), uuid7())
    meme = a_meme(market, seller)
    listing = await market.list_title(seller, meme)
    before = money(market)
    with refused("LISTING_NOT_FOUND", Code.NOT_FOUND):
        await market.buy(buyer, market_pb2.Listing(id=uuid7()))
    with refused("PRICE_CHANGED", Code.FAILED_PRECONDITION, price=str(PRICE)):
        await market.buy(buyer, listing, price=PRICE + 1)
    with refused("SELF_PURCHASE", Code.FAILED_PRECONDITION):
        await market.buy(seller, listing)
    with refused("INSUFFICIENT_FUNDS", Code.FAILED_PRECONDITION, available="999", needed=str(PRICE)):
        await market.buy(poor, listing)
    with refused("INSUFFICIENT_FUNDS", available="0"):
        await market.buy(unknown, listing)
    assert money(market) == before
    assert await market.get(listing.id) == listing
    sale = await market.buy(buyer, listing)
    assert await market.buy(buyer, listing, sale.id) == sale
    after = money(market)
    with refused("ID_REUSED", Code.ALREADY_EXISTS):
        await market.buy(seller, listing, sale.id)
    with refused("LISTING_CLOSED", Code.FAILED_PRECONDITION, state="SOLD"):
        await market.buy(poor, listing)
    assert money(market) == after


@pytest.mark.parametrize(
    ("ledger_says", "reason"),
    [
        (Reason.ERROR_REASON_INSUFFICIENT_FUNDS, "INSUFFICIENT_FUNDS"),
        (Reason.ERROR_REASON_ACCOUNT_IN_DEBT, "INSUFFICIENT_FUNDS"),
        (Reason.ERROR_REASON_ID_REUSED, "ID_REUSED"),
        (Reason.ERROR_REASON_ACCOUNT_FORBIDDEN, "SETTLEMENT_FAULT"),
    ],
)
async def test_a_refusal_of_the_ledger_reopens_the_listing(
    market: Market, ledger_says: int, reason: str
) -> None:
    seller, buyer = a_person(market), a_person(market)
    listing = await market.list_title(seller, a_meme(market, seller))
    before = money(market)
    market.ledger.reason = ledger_says
    with refused(reason):
        await market.buy(buyer, listing)
    assert money(market) == before
    assert await market.get(listing.id) == listing


async def test_a_seller_who_lost_the_title(market: Market) -> None:
    seller, heir, buyer = a_person(market), a_person(market), a_person(market)
    meme = a_meme(market, seller)
    listing = await market.list_title(seller, meme)
    market.ledger.ledger.move(seller, heir, f"title:{meme}")
    before = money(market)
    with refused("NOT_OWNER", Code.PERMISSION_DENIED):
        await market.buy(buyer, listing)
    assert money(market) == before
    assert (await market.get(listing.id)).state == market_pb2.LISTING_STATE_CANCELLED


async def test_a_ledger_that_is_away_leaves_it_open_what_happened(market: Market) -> None:
    seller, buyer = a_person(market), a_person(market)
    listing = await market.list_title(seller, a_meme(market, seller))
    sale_id = uuid7()
    market.ledger.failure = Unavailable("no leader")
    with refused("UNAVAILABLE", Code.UNAVAILABLE):
        await market.buy(buyer, listing, sale_id)
    assert (await market.get(listing.id)).state == market_pb2.LISTING_STATE_SETTLING
    market.ledger.failure = None
    assert (await market.buy(buyer, listing, sale_id)).id == sale_id
    assert market.ledger.ledger.sats(buyer) == FUNDS - PRICE


async def test_two_buyers_at_the_same_moment(market: Market) -> None:
    seller = a_person(market)
    buyers = [a_person(market) for _ in range(8)]
    listing = await market.list_title(seller, a_meme(market, seller))
    answers = await asyncio.gather(*(market.buy(buyer, listing) for buyer in buyers), return_exceptions=True)
    reasons = [answer.reason for answer in answers if isinstance(answer, RemoteFailure)]
    assert reasons == ["LISTING_CLOSED"] * 7
    assert sorted(market.ledger.ledger.sats(buyer) for buyer in buyers) == [FUNDS - PRICE] + [FUNDS] * 7


async def test_reading(market: Market) -> None:
    seller, buyer = a_person(market), a_person(market)
    listings = [await market.list_title(seller, a_meme(market, seller)) for _ in range(3)]
    with refused("LISTING_NOT_FOUND", Code.NOT_FOUND):
        await market.get(uuid7())
    with refused("SALE_NOT_FOUND", Code.NOT_FOUND):
        await market.stub.GetSale(pb.GetSaleRequest(sale_id=uuid7()))
    asked = [listings[2].id, uuid7(), listings[0].id]
    found = await market.stub.BatchGetListings(pb.BatchGetListingsRequest(listing_ids=asked))
    assert [listing.id for listing in found.listings] == [asked[0], asked[2]]
    first = await market.stub.ListListings(pb.ListListingsRequest(page_size=2))
    following = pb.ListListingsRequest(page_size=2, page_token=first.next_page_token)
    rest = await market.stub.ListListings(following)
    assert [*first.listings, *rest.listings] == listings[::-1]
    assert rest.next_page_token == ""
    for request in (
        pb.ListListingsRequest(page_token="nonsense"),
        pb.ListListingsRequest(page_token=first.next_page_token, seller_id=seller),
    ):
        with refused("PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT):
            await market.stub.ListListings(request)
    with refused("PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT):
        await market.stub.ListSales(pb.ListSalesRequest(page_token=first.next_page_token))
    sales = [await market.buy(buyer, listing) for listing in listings]
    for which in (pb.ListSalesRequest(user_id=buyer), pb.ListSalesRequest(user_id=seller)):
        assert list((await market.stub.ListSales(which)).sales) == sales[::-1]
    one = pb.ListSalesRequest(meme_id=listings[1].meme_id)
    assert list((await market.stub.ListSales(one)).sales) == [sales[1]]
    open_ones = pb.ListListingsRequest(state=market_pb2.LISTING_STATE_OPEN)
    assert not (await market.stub.ListListings(open_ones)).listings


async def test_news(market: Market) -> None:
    seller, buyer = a_person(market), a_person(market)
    told = aiter(market.stub.WatchMarket(pb.WatchMarketRequest()))
    first = await anext(told)
    assert first.WhichOneof("news") == "snapshot"
    listing = await market.list_title(seller, a_meme(market, seller))
    sale = await market.buy(buyer, listing)
    await market.world.outbox.deliver()
    events = [(await anext(told)).event for _ in range(3)]
    assert events[0].listing == listing
    assert events[1].listing == await market.get(listing.id)
    assert events[2].sale == sale
    again = aiter(market.stub.WatchMarket(pb.WatchMarketRequest(cursor=first.cursor)))
    assert (await anext(again)).event == events[0]


async def test_offers_over_real_channels(market: Market) -> None:
    seller, buyer, other, admin = (a_person(market) for _ in range(4))
    meme = a_meme(market, seller)
    offer = await market.offer(buyer, meme)
    assert (offer.state, offer.seller_id, offer.buyer_id) == (market_pb2.OFFER_STATE_OPEN, seller, buyer)
    assert await market.offer(buyer, meme, offer_id=offer.id) == offer
    with refused("ID_REUSED", Code.ALREADY_EXISTS):
        await market.offer(buyer, meme, PRICE + 1, offer_id=offer.id)
    assert market.ledger.ledger.held(buyer) == PRICE
    before = money(market)
    with refused("NOT_OWNER", Code.PERMISSION_DENIED, owner_id=seller):
        await market.accept(other, offer.id)
    with refused("NOT_BUYER", Code.PERMISSION_DENIED):
        await market.cancel_offer(seller, offer.id)
    for call in (
        market.accept(seller, uuid7()),
        market.cancel_offer(buyer, uuid7()),
        market.get_offer(uuid7()),
    ):
        with refused("OFFER_NOT_FOUND", Code.NOT_FOUND):
            await call
    assert money(market) == before
    others = [await market.offer(other, meme, PRICE + more) for more in (1, 2)]
    sale = await market.accept(seller, offer.id)
    assert await market.accept(seller, offer.id, sale.id) == sale
    assert (sale.offer_id, sale.listing_id, sale.buyer_id, sale.number) == (offer.id, "", buyer, 1)
    with refused("OFFER_CLOSED", Code.FAILED_PRECONDITION, state="ACCEPTED"):
        await market.accept(seller, offer.id)
    with refused("OFFER_CLOSED", state="ACCEPTED"):
        await market.cancel_offer(buyer, offer.id)
    assert await market.world.outbox.deliver()
    asked = pb.BatchGetOffersRequest(offer_ids=[others[1].id, uuid7(), offer.id])
    found = (await market.stub.BatchGetOffers(asked)).offers
    assert [(one.id, one.state) for one in found] == [
        (others[1].id, market_pb2.OFFER_STATE_SUPERSEDED),
        (offer.id, market_pb2.OFFER_STATE_ACCEPTED),
    ]
    assert (market.ledger.ledger.sats(buyer), market.ledger.ledger.held(other)) == (FUNDS - PRICE, 0)
    last = await market.offer(other, meme)
    cancelled = await market.cancel_offer(admin, last.id, admin=True)
    assert cancelled.state == market_pb2.OFFER_STATE_CANCELLED
    assert await market.cancel_offer(other, last.id) == cancelled


async def test_reasons_of_offers(market: Market) -> None:
    seller, buyer, poor = a_person(market), a_person(market), a_person(market, PRICE - 1)
    meme = a_meme(market, seller)
    before = money(market)
    with refused("TITLE_NOT_FOUND", Code.NOT_FOUND):
        await market.offer(buyer, uuid7())
    with refused("SELF_PURCHASE", Code.FAILED_PRECONDITION):
        await market.offer(seller, meme)
    with refused("PRICE_TOO_LOW", Code.INVALID_ARGUMENT, minimum="1000"):
        await market.offer(buyer, meme, 999)
    for lasts_s in (0, -5, 30 * 24 * 3600 + 1):
        with refused("EXPIRY_INVALID", Code.INVALID_ARGUMENT, longest_s=str(30 * 24 * 3600)):
            await market.offer(buyer, meme, lasts_s=lasts_s)
    with refused("INSUFFICIENT_FUNDS", Code.FAILED_PRECONDITION, available=str(PRICE - 1), needed=str(PRICE)):
        await market.offer(poor, meme)
    with refused("INVALID_ARGUMENT", Code.INVALID_ARGUMENT), market.acting(buyer):
        await market.stub.MakeOffer(pb.MakeOfferRequest(offer_id=uuid7(), meme_id=meme, price_sats=PRICE))
    with refused("INVALID_ARGUMENT", Code.INVALID_ARGUMENT):
        await market.offer(buyer, meme, offer_id=uuid7(0))
    assert not (await market.stub.ListOffers(pb.ListOffersRequest())).offers
    assert money(market) == before
    market.ledger.reason = Reason.ERROR_REASON_ACCOUNT_IN_DEBT
    offer_id = uuid7()
    for _ in range(2):
        with refused("INSUFFICIENT_FUNDS"):
            await market.offer(buyer, meme, offer_id=offer_id)
    market.ledger.reason = None
    assert (await market.get_offer(offer_id)).state == market_pb2.OFFER_STATE_REFUSED
    with refused("OFFER_CLOSED", state="REFUSED"):
        await market.cancel_offer(buyer, offer_id)
    assert money(market) == before


async def test_a_listing_is_changed_by_version(market: Market) -> None:
    seller, other, buyer = a_person(market), a_person(market), a_person(market)
    listing = await market.list_title(seller, a_meme(market, seller), expires_at=market.after(60))
    assert listing.version == 1
    dearer = await market.edit(seller, listing, price_sats=PRICE + 1)
    assert (dearer.version, dearer.price_sats, dearer.expires_at) == (2, PRICE + 1, listing.expires_at)
    assert await market.edit(seller, listing, price_sats=PRICE + 1) == dearer, "repeated"
    assert await market.edit(seller, dearer, expires_at=listing.expires_at) == dearer, "nothing to change"
    again = await market.list_title(
        seller, listing.meme_id, listing_id=listing.id, expires_at=listing.expires_at
    )
    assert again == dearer, "the making repeated"
    for call, reason in (
        (market.edit(other, dearer, price_sats=PRICE), "NOT_SELLER"),
        (
            market.edit(seller, market_pb2.Listing(id=uuid7(), version=1), price_sats=PRICE),
            "LISTING_NOT_FOUND",
        ),
        (market.edit(seller, dearer, price_sats=999), "PRICE_TOO_LOW"),
        (market.edit(seller, dearer, expires_at=market.after(0)), "EXPIRY_INVALID"),
        (market.edit(seller, dearer, expires_at=market.after(366 * 24 * 3600)), "EXPIRY_INVALID"),
        (market.edit(seller, dearer, never_expires=False), "INVALID_ARGUMENT"),
        (market.edit(seller, market_pb2.Listing(id=listing.id), price_sats=PRICE), "INVALID_ARGUMENT"),
    ):
        with refused(reason):
            await call
    with refused("VERSION_CHANGED", Code.FAILED_PRECONDITION, version="2"):
        await market.edit(seller, listing, price_sats=PRICE)
    assert await market.get(listing.id) == dearer
    with refused("PRICE_CHANGED", price=str(PRICE + 1)):
        await market.buy(buyer, listing)
    stays = await market.edit(seller, dearer, never_expires=True)
    assert (stays.version, stays.HasField("expires_at")) == (3, False)
    await market.world.clock.advance(120)
    await market.buy(buyer, stays, price=PRICE + 1)
    with refused("LISTING_CLOSED", state="SOLD"):
        await market.edit(seller, stays, price_sats=PRICE)


async def test_nothing_is_sold_once_its_time_is_over(market: Market) -> None:
    """Nobody sweeps here: the clock alone decides."""
    seller, buyer = a_person(market), a_person(market)
    meme = a_meme(market, seller)
    listing = await market.list_title(seller, meme, expires_at=market.after(30))
    offer = await market.offer(buyer, meme, lasts_s=30)
    await market.world.clock.advance(30)
    before = money(market)
    for call, reason in (
        (market.buy(buyer, listing), "LISTING_CLOSED"),
        (market.edit(seller, listing, price_sats=PRICE + 1), "LISTING_CLOSED"),
        (market.cancel(seller, listing.id), "LISTING_CLOSED"),
        (market.accept(seller, offer.id), "OFFER_CLOSED"),
        (market.cancel_offer(buyer, offer.id), "OFFER_CLOSED"),
    ):
        with refused(reason, Code.FAILED_PRECONDITION, state="EXPIRED"):
            await call
    expired = await market.get(listing.id)
    assert (expired.state, expired.closed_at) == (market_pb2.LISTING_STATE_EXPIRED, listing.expires_at)
    assert (await market.get_offer(offer.id)).state == market_pb2.OFFER_STATE_EXPIRED
    assert not (await market.stub.ListListings(pb.ListListingsRequest(state=1))).listings  # type: ignore[arg-type] # OPEN
    [quote] = (await market.stub.BatchGetQuotes(pb.BatchGetQuotesRequest(meme_ids=[meme]))).quotes
    assert (quote.floor_price_sats, quote.HasField("open_listing")) == (0, False)
    assert money(market) == before
    await market.world.expiry.sweep()
    assert await market.get(listing.id) == expired
    assert market.ledger.ledger.held(buyer) == 0
    assert (await market.list_title(seller, meme)).state == market_pb2.LISTING_STATE_OPEN


async def test_figures_and_series(market: Market) -> None:
    people = [a_person(market, 100_000) for _ in range(4)]
    meme = a_meme(market, people[0])
    start = market.after(0)
    for number, price in enumerate((3_000, 5_000, 2_000)):
        listing = await market.list_title(people[number], meme, price)
        await market.buy(people[number + 1], listing, price=price)
    listing = await market.list_title(people[3], meme, 9_000)
    await market.list_title(people[0], a_meme(market, people[0]), 7_000, expires_at=market.after(10))
    overview = (await market.stub.GetOverview(pb.GetOverviewRequest())).overview
    assert (overview.open_listings, overview.floor_price_sats) == (2, 7_000)
    assert (overview.sales, overview.volume_sats) == (3, 10_000)
    await market.world.clock.advance(11)
    overview = (await market.stub.GetOverview(pb.GetOverviewRequest())).overview
    assert (overview.open_listings, overview.floor_price_sats) == (1, 9_000)
    [quote] = (await market.stub.BatchGetQuotes(pb.BatchGetQuotesRequest(meme_ids=[meme]))).quotes
    assert (quote.floor_price_sats, quote.last_price_sats, quote.volume_sats, quote.sales) == (
        (9_000, 2_000, 10_000, 3)
    )
    assert quote.open_listing == listing

    def series(start: Timestamp, end: Timestamp, step: int = 1) -> Any:
        return market.stub.GetSeries(pb.GetSeriesRequest(meme_id=meme, step=step, start=start, end=end))  # type: ignore[arg-type] # the contract's numbers

    for step in (market_pb2.STEP_HOUR, market_pb2.STEP_DAY):
        candles = (await series(start, market.after(1), step)).candles
        assert sum(candle.sales for candle in candles) == 3
        assert (candles[0].open_sats, candles[-1].close_sats) == (3_000, 2_000)
        assert (max(c.high_sats for c in candles), min(c.low_sats for c in candles)) == (5_000, 2_000)
        assert sum(candle.volume_sats for candle in candles) == 10_000
    assert not (await series(market.after(3_600), market.after(7_200))).candles
    with refused("SERIES_RANGE_INVALID", Code.INVALID_ARGUMENT, maximum="1000"):
        await series(start, market.after(1_001 * 3_600))
    with refused("SERIES_RANGE_INVALID"):
        await series(start, start)
    with refused("INVALID_ARGUMENT"):
        await series(start, market.after(1), 0)


async def test_news_of_everything(market: Market) -> None:
    seller, buyer, other = a_person(market), a_person(market), a_person(market)
    meme = a_meme(market, seller)
    told = aiter(market.stub.WatchMarket(pb.WatchMarketRequest()))
    await anext(told)
    listing = await market.list_title(seller, meme, expires_at=market.after(60))
    edited = await market.edit(seller, listing, price_sats=PRICE + 1)
    first = await market.offer(buyer, meme)
    second = await market.offer(other, meme)
    await market.cancel_offer(other, second.id)
    third = await market.offer(other, meme, lasts_s=10)
    await market.world.clock.advance(15)
    await market.world.expiry.sweep()
    await market.accept(seller, first.id)
    await market.world.outbox.deliver()
    events = [(await anext(told)).event for _ in range(10)]
    assert [event.listing.version for event in events[:2]] == [1, 2]
    assert events[1].listing == edited
    assert [(event.offer.id, market_pb2.OfferState.Name(event.offer.state)) for event in events[2:7]] == [
        (first.id, "OFFER_STATE_OPEN"),
        (second.id, "OFFER_STATE_OPEN"),
        (second.id, "OFFER_STATE_CANCELLED"),
        (third.id, "OFFER_STATE_OPEN"),
        (third.id, "OFFER_STATE_EXPIRED"),
    ]
    assert events[7].listing.state == market_pb2.LISTING_STATE_CANCELLED, "an accepted offer ends the listing"
    assert (events[8].offer.id, events[8].offer.state) == (first.id, market_pb2.OFFER_STATE_ACCEPTED)
    assert events[9].sale.offer_id == first.id


def test_every_reason_of_the_contract_has_a_failure() -> None:
    prefix = "ERROR_REASON_"
    contract = {value.name.removeprefix(prefix) for value in market_pb2.ErrorReason.DESCRIPTOR.values}
    own = [one for one in vars(failures).values() if isinstance(one, type) and issubclass(one, Failure)]
    made = {one.reason for one in own if one.__module__ == failures.__name__}
    assert made - {"UNAVAILABLE", "INTERNAL"} == contract - {"ID_REUSED", "UNSPECIFIED"}


async def test_calls_of_users_need_a_user_and_the_gateway(market: Market) -> None:
    listing = pb.CreateListingRequest(listing_id=uuid7(), meme_id=uuid7(), price_sats=PRICE)
    with refused("USER_TOKEN_MISSING", Code.UNAUTHENTICATED):
        await market.stub.CreateListing(listing)
    stranger = market_service_pb2_grpc.MarketServiceStub(market.server.channel("content"))
    with refused("CALLER_NOT_ALLOWED", Code.PERMISSION_DENIED), market.acting(uuid7()):
        await stranger.CreateListing(listing)


@pytest.mark.parametrize(
    "at", [Timestamp(seconds=2**62), Timestamp(seconds=-(2**62)), Timestamp(seconds=5, nanos=-1)]
)
async def test_what_is_no_time(market: Market, at: Timestamp) -> None:
    seller = a_person(market)
    meme = a_meme(market, seller)
    asked: list[Awaitable[Any]] = [
        market.list_title(seller, meme, expires_at=at),
        market.edit(seller, await market.list_title(seller, a_meme(market, seller)), expires_at=at),
        market.stub.MakeOffer(
            pb.MakeOfferRequest(offer_id=uuid7(), meme_id=meme, price_sats=PRICE, expires_at=at)
        ),
        market.stub.GetSeries(pb.GetSeriesRequest(meme_id=meme, step=market_pb2.STEP_DAY, start=at, end=at)),
    ]
    for call in asked:
        with market.acting(a_person(market)), refused("INVALID_ARGUMENT", Code.INVALID_ARGUMENT):
            await call
