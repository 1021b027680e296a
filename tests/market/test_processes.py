"""Two processes of the market over one store, and a real ledger: everybody wants the same titles at once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_pb2, market_service_pb2_grpc
from satreel.market.v1 import market_service_pb2 as pb

from mesh import caller, tls
from mesh.caller import Caller
from mesh.channel import connect
from mesh.clock import NS_PER_S, SystemClock
from mesh.errors import Code, RemoteFailure
from mesh.ids import uuid7
from mesh.testing import serving
from mesh.tokens import UserTokenSigner
from sandbox.process import free_port

FUNDS, PRICE, TITLES, SOLD_MIN, BUYERS = 1_000_000, 2_000, 12, 4, 6
PATIENCE_S = 240


class Chain(chain_service_pb2_grpc.ChainServiceServicer):
    """Knows which titles were asked to be moved, in which order."""

    def __init__(self) -> None:
        self.moved: dict[str, str] = {}
        self.sales: list[str] = []

    async def TransferTitle(self, request: Any, context: Any) -> chain_service_pb2.TransferTitleResponse:
        if request.sale_id not in self.sales:
            self.sales.append(request.sale_id)
            self.moved[request.meme_id] = request.new_owner_id
        return chain_service_pb2.TransferTitleResponse()


class House:
    """The processes, and stubs to them."""

    def __init__(
        self, environment: dict[str, str], addresses: dict[str, str], key: bytes, chain: Chain
    ) -> None:
        self._environment = environment
        self._addresses = addresses
        self._signer = UserTokenSigner(key, SystemClock())
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stack = AsyncExitStack()
        self.chain = chain
        self.people = [uuid7() for _ in range(BUYERS)]
        self.markets = [
            market_service_pb2_grpc.MarketServiceStub(self._channel("gateway", "market", name))
            for name in ("market-a", "market-b")
        ]

    def _channel(self, me: str, peer: str, address: str) -> Any:
        opened = connect(me=me, peer=peer, addresses=self._addresses[address], tls_dir=None)
        self._stack.push_async_callback(opened.close)
        return opened

    def ledger(self, me: str) -> ledger_service_pb2_grpc.LedgerServiceStub:
        return ledger_service_pb2_grpc.LedgerServiceStub(self._channel(me, "ledger", "ledger"))

    async def start(self, name: str) -> None:
        service = name.partition("-")[0]
        listen = {f"SATREEL_{service.upper()}_LISTEN": self._addresses[name]}
        self._processes[name] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"services.{service}", env={**os.environ, **self._environment, **listen}
        )

    async def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def close(self) -> None:
        for name in tuple(self._processes):
            await self.kill(name)
        await self._stack.aclose()

    async def call(self, user: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """What the user is answered; a failure as the reason's text."""
        token, _ = self._signer.sign(user_id=user, roles=frozenset({"user"}), session_id="test")
        with caller.acting_as(Caller("", user), token):
            try:
                return await make()
            except RemoteFailure as failure:
                return failure

    async def insist(self, user: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """The same call until it is answered for good, as a client does that lost an answer."""
        while True:
            answer = await self.call(user, make)
            unknown = isinstance(answer, RemoteFailure) and (
                answer.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.CANCELLED)
            )
            if not unknown:
                return answer
            await asyncio.sleep(0.1)


@asynccontextmanager
async def open_house(valkey_url: str, folder: Path) -> AsyncIterator[House]:
    private_key, public_key = tls.make_user_token_keys(folder)
    chain = Chain()  # type: ignore[abstract] # it has what is called here
    adder = chain_service_pb2_grpc.add_ChainServiceServicer_to_server
    async with serving("chain", adder, chain) as chain_server:
        addresses = {name: f"127.0.0.1:{free_port()}" for name in ("ledger", "market-a", "market-b")}
        peers = {"ledger": addresses["ledger"], "chain": chain_server.address}
        environment = {
            "SATREEL_PEERS": json.dumps(peers),
            "SATREEL_REDIS_URL": valkey_url,
            "SATREEL_DATA_DIR": str(folder),
            "SATREEL_USER_TOKEN_KEY": str(public_key),
            "SATREEL_LOG_LEVEL": "error",
        }
        house = House(environment, addresses, private_key.read_bytes(), chain)
        try:
            for name in addresses:
                await house.start(name)
            yield house
        finally:
            await house.close()


async def test_everybody_wants_the_same_titles_at_once_and_a_market_is_killed(
    valkey_url: str, tmp_path: Path
) -> None:
    async with asyncio.timeout(PATIENCE_S), open_house(valkey_url, tmp_path) as house:
        seller = uuid7()
        memes = await furnish(house, seller)
        source = random.Random(7)
        answers: list[Any] = []
        for number, meme in enumerate(memes):
            calls = await prepare(house, seller, meme, source, bought=number < SOLD_MIN)
            if number == TITLES // 2:
                under_way = [asyncio.create_task(house.insist(user, make)) for user, make in calls]
                await asyncio.sleep(0.01)
                await house.kill("market-a")
                await house.start("market-a")
                answers += await asyncio.gather(*under_way)
            else:
                answers += await asyncio.gather(*(house.insist(user, make) for user, make in calls))
        await come_to_rest(house, memes)
        await check(house, seller, memes, answers)


async def furnish(house: House, seller: str) -> list[str]:
    """Titles for the seller, coins for the buyers."""
    content, chain = house.ledger("content"), house.ledger("chain")
    memes = [uuid7() for _ in range(TITLES)]
    for meme in memes:
        request = ledger_service_pb2.IssueTitleRequest(meme_id=meme, creator_id=seller)
        await content.IssueTitle(request, timeout=PATIENCE_S)
    coins = [
        ledger_pb2.Deposit(
            id=uuid7(), user_id=user, amount_sats=FUNDS, txid="dd" * 32, vout=vout, block_hash="aa" * 32
        )
        for vout, user in enumerate(house.people)
    ]
    await chain.CreditDeposits(ledger_service_pb2.CreditDepositsRequest(deposits=coins))
    return memes


async def prepare(
    house: House, seller: str, meme: str, source: random.Random, *, bought: bool
) -> list[tuple[str, Callable[[], Awaitable[Any]]]]:
    """A listing and an offer, and all that people then do about them at the same moment, anywhere.

    `bought`: they only buy, so that one of them has it in the end.
    """
    listing_id, offer_id = uuid7(), uuid7()
    make_listing = pb.CreateListingRequest(listing_id=listing_id, meme_id=meme, price_sats=PRICE)
    make_offer = pb.MakeOfferRequest(
        offer_id=offer_id, meme_id=meme, price_sats=PRICE - 500, expires_at=ahead(3_600)
    )
    one, other = house.markets
    made = await house.insist(seller, lambda: one.CreateListing(make_listing, timeout=PATIENCE_S))
    assert made.listing.state == market_pb2.LISTING_STATE_OPEN
    offered = await house.insist(house.people[0], lambda: other.MakeOffer(make_offer, timeout=PATIENCE_S))
    assert offered.offer.state == market_pb2.OFFER_STATE_OPEN
    edit = pb.UpdateListingRequest(listing_id=listing_id, expected_version=1, price_sats=PRICE + 1)
    cancel = pb.CancelListingRequest(listing_id=listing_id)
    accept = pb.AcceptOfferRequest(sale_id=uuid7(), offer_id=offer_id)
    withdraw = pb.CancelOfferRequest(offer_id=offer_id)
    calls: list[tuple[str, Callable[[], Awaitable[Any]]]] = []
    for number, buyer in enumerate(house.people):
        purchase = pb.PurchaseRequest(sale_id=uuid7(), listing_id=listing_id, expected_price_sats=PRICE)
        calls.append((buyer, bound(house.markets[number % 2].Purchase, purchase)))
    others = [
        (seller, bound(one.UpdateListing, edit)),
        (seller, bound(other.CancelListing, cancel)),
        (seller, bound(one.AcceptOffer, accept)),
        (house.people[0], bound(other.CancelOffer, withdraw)),
    ]
    calls += source.sample(others, 0 if bought else source.randint(0, len(others)))
    source.shuffle(calls)
    return calls


def bound(method: Any, request: Any) -> Callable[[], Awaitable[Any]]:
    return lambda: method(request, timeout=PATIENCE_S)


def ahead(seconds: float) -> Timestamp:
    at = Timestamp()
    at.FromNanoseconds(SystemClock().now_ns() + round(seconds * NS_PER_S))
    return at


async def come_to_rest(house: House, memes: list[str]) -> None:
    """Until nothing is under way: listings, offers, and what the chain is to be told."""
    market = house.markets[1]
    while True:
        under_way: list[Any] = []
        settling = pb.ListListingsRequest(state=market_pb2.LISTING_STATE_SETTLING)
        under_way += (await market.ListListings(settling, timeout=PATIENCE_S)).listings
        for state in (market_pb2.OFFER_STATE_SETTLING, market_pb2.OFFER_STATE_PENDING):
            under_way += (
                await market.ListOffers(pb.ListOffersRequest(state=state), timeout=PATIENCE_S)
            ).offers
        sales = (await market.ListSales(pb.ListSalesRequest(page_size=1_000), timeout=PATIENCE_S)).sales
        if not under_way and {sale.id for sale in sales} == set(house.chain.sales):
            return
        await asyncio.sleep(0.1)


async def check(house: House, seller: str, memes: list[str], answers: list[Any]) -> None:
    market = house.markets[0]
    sales = list(
        (await house.insist(seller, bound(market.ListSales, pb.ListSalesRequest(page_size=1_000)))).sales
    )
    per_meme = Counter(sale.meme_id for sale in sales)
    assert set(per_meme.values()) == {1}, "nobody bought a title that somebody else had"
    assert {answer.sale.id for answer in answers if hasattr(answer, "sale")} == {sale.id for sale in sales}
    reasons = Counter(answer.reason for answer in answers if isinstance(answer, RemoteFailure))
    assert set(reasons) <= {"LISTING_CLOSED", "OFFER_CLOSED", "PRICE_CHANGED", "NOT_OWNER", "VERSION_CHANGED"}
    assert len(sales) >= SOLD_MIN
    await check_money(house, seller, sales)
    quotes = (await market.BatchGetQuotes(pb.BatchGetQuotesRequest(meme_ids=memes))).quotes
    assert {quote.meme_id: quote.volume_sats for quote in quotes if quote.sales} == {
        sale.meme_id: sale.price_sats for sale in sales
    }
    owners = {sale.meme_id: sale.buyer_id for sale in sales}
    assert house.chain.moved == owners


async def check_money(house: House, seller: str, sales: list[market_pb2.Sale]) -> None:
    """Everybody has what the sales leave; only open offers hold money."""
    ledger = house.ledger("market")
    offers = (await house.markets[0].ListOffers(pb.ListOffersRequest(page_size=1_000))).offers
    expected: Counter[str] = Counter(dict.fromkeys(house.people, FUNDS))
    for sale in sales:
        title = (await ledger.GetTitle(ledger_service_pb2.GetTitleRequest(meme_id=sale.meme_id))).title
        assert title.owner_id == sale.buyer_id
        expected[sale.buyer_id] -= sale.price_sats
        expected[seller] += sale.price_sats - sale.fee_sats
    held = Counter[str]()
    for offer in offers:
        if offer.state == market_pb2.OFFER_STATE_OPEN:
            held[offer.buyer_id] += offer.price_sats
    for user, sats in expected.items():
        request = ledger_service_pb2.GetAccountRequest(account_id=f"user:{user}", asset="sat")
        account = (await ledger.GetAccount(request)).account
        assert (account.balance, account.held) == (sats, held[user])
