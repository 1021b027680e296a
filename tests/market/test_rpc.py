"""The contract over real channels: to the market, and from it to a ledger and a chain that speak theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_pb2, market_service_pb2_grpc
from satreel.market.v1 import market_service_pb2 as pb

from mesh.clock import ManualClock
from mesh.errors import Code, Failure, NotFound, RemoteFailure, Unavailable
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.testing import LoopbackServer, serving
from services.market.adapters.peers import GrpcChain, GrpcLedger
from services.market.app.ports import Refusal
from services.market.domain.sales import Leg, Transfer
from services.market.rpc.news import FeedNews
from services.market.rpc.servicer import MarketServicer
from tests.market.fakes import FakeLedger
from tests.market.world import FUNDS, PRICE, World

Reason = ledger_pb2.ErrorReason
_REASONS = {
    Refusal.INSUFFICIENT_FUNDS: Reason.ERROR_REASON_INSUFFICIENT_FUNDS,
    Refusal.NOT_OWNER: Reason.ERROR_REASON_INSUFFICIENT_FUNDS,
    Refusal.ID_REUSED: Reason.ERROR_REASON_ID_REUSED,
}


class AccountNotFound(NotFound):
    """The account has never been used."""

    reason = "ACCOUNT_NOT_FOUND"


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """The ledger's contract over the fake, as far as the market calls it."""

    def __init__(self, ledger: FakeLedger) -> None:
        self.ledger = ledger
        self.failure: Failure | None = None
        self.reason: Any = None

    async def GetTitle(self, request: Any, context: Any) -> ledger_service_pb2.GetTitleResponse:
        owner_id = self.ledger.owner_of(request.meme_id)
        return ledger_service_pb2.GetTitleResponse(
            title=ledger_pb2.Title(meme_id=request.meme_id, owner_id=owner_id)
        )

    async def GetAccount(self, request: Any, context: Any) -> ledger_service_pb2.GetAccountResponse:
        if (request.account_id, request.asset) not in self.ledger.balances:
            raise AccountNotFound
        available = self.ledger.balances[request.account_id, request.asset]
        return ledger_service_pb2.GetAccountResponse(account=ledger_pb2.Account(available=available))

    async def CreateTransfers(self, request: Any, context: Any) -> ledger_service_pb2.CreateTransfersResponse:
        if self.failure is not None:
            raise self.failure
        assert [transfer.linked for transfer in request.transfers] == [True, True, False]
        assert all(transfer.kind == ledger_pb2.TRANSFER_KIND_POST for transfer in request.transfers)
        legs = [_leg(leg, transfer) for leg, transfer in zip(Leg, request.transfers, strict=True)]
        results = [ledger_pb2.TransferResult(id=leg.id) for leg in legs]
        failed, reason = (Leg.PROCEEDS, self.reason) if self.reason else self._applied(legs)
        for leg, result in zip(legs, results, strict=True):
            if reason:
                result.reason = reason if leg.leg is failed else Reason.ERROR_REASON_LINKED_TRANSFER_FAILED
        return ledger_service_pb2.CreateTransfersResponse(results=results)

    def _applied(self, legs: Sequence[Transfer]) -> tuple[Leg, Any]:
        refused = self.ledger.apply(legs)
        return (Leg.PROCEEDS, None) if refused is None else (refused.leg, _REASONS[refused.refusal])


def _leg(leg: Leg, transfer: ledger_pb2.Transfer) -> Transfer:
    return Transfer(
        leg,
        transfer.id,
        transfer.debit_account,
        transfer.credit_account,
        transfer.asset,
        transfer.amount,
        transfer.memo,
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

    async def offer(
        self, seller: str, meme: str, price: int = PRICE, listing_id: str = ""
    ) -> market_pb2.Listing:
        request = pb.CreateListingRequest(listing_id=listing_id or uuid7(), meme_id=meme, price_sats=price)
        with self.acting(seller):
            return (await self.stub.CreateListing(request)).listing

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
        world.ledger = GrpcLedger(  # type: ignore[assignment] # the real adapter, to the fake behind a real server
            ledger_service_pb2_grpc.LedgerServiceStub(ledger_server.channel("market"))
        )
        world.chain = GrpcChain(  # type: ignore[assignment] # as above
            chain_service_pb2_grpc.ChainServiceStub(chain_server.channel("market"))
        )
        world.news = FeedNews(feed, world.clock, uuid7)  # type: ignore[assignment] # as above
        world.start()
        servicer = MarketServicer(
            selling=world.selling, buying=world.buying, reading=world.reading, feed=feed
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


def money(market: Market) -> dict[tuple[str, str], int]:
    return dict(+market.ledger.ledger.balances)


def a_person(market: Market, sats: int = FUNDS) -> str:
    user_id = uuid7()
    market.ledger.ledger.fund(user_id, sats)
    return user_id


def a_meme(market: Market, owner: str) -> str:
    meme_id = uuid7()
    market.ledger.ledger.issue(meme_id, owner)
    return meme_id


@pytest.fixture(autouse=True)
def _now(world: World) -> None:
    """Ids of these tests are made now: so is the world."""
    world.clock = ManualClock(datetime.now(UTC))


async def test_a_sale_over_real_channels(market: Market) -> None:
    seller, buyer = a_person(market), a_person(market)
    meme = a_meme(market, seller)
    listing = await market.offer(seller, meme)
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
    listing = await market.offer(seller, meme)
    before = money(market)
    with refused("PRICE_TOO_LOW", Code.INVALID_ARGUMENT, minimum="1000"):
        await market.offer(seller, a_meme(market, seller), 999)
    before = money(market)
    with refused("TITLE_NOT_FOUND", Code.NOT_FOUND):
        await market.offer(seller, uuid7())
    with refused("NOT_OWNER", Code.PERMISSION_DENIED, owner_id=seller):
        await market.offer(other, meme)
    with refused("ALREADY_LISTED", Code.ALREADY_EXISTS, listing_id=listing.id):
        await market.offer(seller, meme)
    with refused("ID_REUSED", Code.ALREADY_EXISTS):
        await market.offer(seller, meme, PRICE + 1, listing_id=listing.id)
    with refused("INVALID_ARGUMENT"):
        await market.offer(seller, meme, listing_id="not-an-id")
    listed = await market.stub.ListListings(pb.ListListingsRequest())
    assert list(listed.listings) == [listing]
    assert money(market) == before


async def test_reasons_of_cancelling(market: Market) -> None:
    seller, other = a_person(market), a_person(market)
    listing = await market.offer(seller, a_meme(market, seller))
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
    listing = await market.offer(seller, a_meme(market, seller))
    cancelled = await market.cancel(other, listing.id, admin=True)
    assert cancelled.state == market_pb2.LISTING_STATE_CANCELLED
    assert await market.cancel(seller, listing.id) == cancelled


async def test_reasons_of_purchase(market: Market) -> None:
    seller, buyer, poor, unknown = (a_person(market), a_person(market), a_person(market, 999), uuid7())
    meme = a_meme(market, seller)
    listing = await market.offer(seller, meme)
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
    listing = await market.offer(seller, a_meme(market, seller))
    before = money(market)
    market.ledger.reason = ledger_says
    with refused(reason):
        await market.buy(buyer, listing)
    assert money(market) == before
    assert await market.get(listing.id) == listing


async def test_a_seller_who_lost_the_title(market: Market) -> None:
    seller, heir, buyer = a_person(market), a_person(market), a_person(market)
    meme = a_meme(market, seller)
    listing = await market.offer(seller, meme)
    market.ledger.ledger.balances[f"user:{seller}", f"title:{meme}"] -= 1
    market.ledger.ledger.balances[f"user:{heir}", f"title:{meme}"] += 1
    before = money(market)
    with refused("NOT_OWNER", Code.PERMISSION_DENIED):
        await market.buy(buyer, listing)
    assert money(market) == before
    assert (await market.get(listing.id)).state == market_pb2.LISTING_STATE_CANCELLED


async def test_a_ledger_that_is_away_leaves_it_open_what_happened(market: Market) -> None:
    seller, buyer = a_person(market), a_person(market)
    listing = await market.offer(seller, a_meme(market, seller))
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
    listing = await market.offer(seller, a_meme(market, seller))
    answers = await asyncio.gather(*(market.buy(buyer, listing) for buyer in buyers), return_exceptions=True)
    reasons = [answer.reason for answer in answers if isinstance(answer, RemoteFailure)]
    assert reasons == ["LISTING_CLOSED"] * 7
    assert sorted(market.ledger.ledger.sats(buyer) for buyer in buyers) == [FUNDS - PRICE] + [FUNDS] * 7


async def test_reading(market: Market) -> None:
    seller, buyer = a_person(market), a_person(market)
    listings = [await market.offer(seller, a_meme(market, seller)) for _ in range(3)]
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
    listing = await market.offer(seller, a_meme(market, seller))
    sale = await market.buy(buyer, listing)
    await market.world.outbox.deliver()
    events = [(await anext(told)).event for _ in range(3)]
    assert events[0].listing == listing
    assert events[1].listing == await market.get(listing.id)
    assert events[2].sale == sale
    again = aiter(market.stub.WatchMarket(pb.WatchMarketRequest(cursor=first.cursor)))
    assert (await anext(again)).event == events[0]


async def test_calls_of_users_need_a_user_and_the_gateway(market: Market) -> None:
    listing = pb.CreateListingRequest(listing_id=uuid7(), meme_id=uuid7(), price_sats=PRICE)
    with refused("USER_TOKEN_MISSING", Code.UNAUTHENTICATED):
        await market.stub.CreateListing(listing)
    stranger = market_service_pb2_grpc.MarketServiceStub(market.server.channel("content"))
    with refused("CALLER_NOT_ALLOWED", Code.PERMISSION_DENIED), market.acting(uuid7()):
        await stranger.CreateListing(listing)
