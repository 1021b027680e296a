"""A title sold in the middle of a round: the real ledger divides the owner's part to the second."""

from __future__ import annotations

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh.clock import NS_PER_S
from mesh.ids import uuid7
from mesh.records.memory import MemoryStore
from services.market.adapters.peers import GrpcLedger
from services.market.adapters.records import SETS
from services.market.app.parts import Parts
from services.market.domain.values import ListingId, MemeId, OfferId, SaleId, Sats, Terms, UserId
from tests.ledger.rpc.house import ANA, MEME, House, meter, open_house
from tests.market.fakes import FakeChain, FakeNews
from tests.market.world import PRICE, instance_over

MAKER, VIEWER, BUYER, LAST = UserId(ANA), uuid7(), UserId(uuid7()), UserId(uuid7())
FUNDS, WATCHED = 20_000, 150


def owner_part(seconds: int) -> int:
    """DOMAIN.md by hand: 2 % fee, of the rest 45 % at once, of that 90 % to the owner; rounded down."""
    after_fee = seconds - seconds * 2 // 100
    return after_fee * 45 // 100 * 90 // 100


def creator_part(seconds: int) -> int:
    after_fee = seconds - seconds * 2 // 100
    return after_fee * 45 // 100 * 10 // 100


async def balance(house: House, user: str) -> int:
    request = pb.GetAccountRequest(account_id=f"user:{user}", asset="sat")
    return (await house.market.GetAccount(request)).account.balance


async def second_of_sale(house: House, session: ledger_pb2.Session) -> int:
    """How many seconds of the session had begun when the title changed hands: they are the seller's."""
    title = (await house.market.GetTitle(pb.GetTitleRequest(meme_id=MEME))).title
    return -(-(title.since.ToNanoseconds() - session.opened_at.ToNanoseconds()) // NS_PER_S)


async def watch_until(house: House, key: int, begin: int, end: int) -> None:
    """Reports each fifth second; the clock stands a little behind each."""
    for second in range(begin + 5, end + 1, 5):
        house.clock.shift_ns += 5 * NS_PER_S
        assert (await meter(house.gateway, (key, second))).burned_sats == [second]


@pytest.mark.parametrize("how", ["purchase", "offer"])
async def test_each_owner_earns_the_seconds_that_began_while_the_title_was_theirs(
    valkey_url: str, how: str
) -> None:
    async with open_house(valkey_url) as house:
        for user in (VIEWER, BUYER, LAST):
            await house.fund(user, FUNDS)
        await house.open_round()
        stub: LedgerServiceStub = house.market
        market = instance_over(MemoryStore(SETS), GrpcLedger(stub), FakeChain(), FakeNews(), house.clock)
        with house.server.user(VIEWER):
            opened = await house.gateway.OpenSession(
                pb.OpenSessionRequest(session_id=uuid7(), meme_id=MEME, budget_sats=WATCHED)
            )
        key = opened.session.meter_key
        await watch_until(house, key, 0, 70)
        house.clock.shift_ns += round(3.4 * NS_PER_S)
        await sell(market, MAKER, BUYER, how)
        first = await second_of_sale(house, opened.session)
        house.clock.shift_ns -= round(3.4 * NS_PER_S)
        await watch_until(house, key, 70, 100)
        house.clock.shift_ns += round(0.4 * NS_PER_S)
        await sell(market, BUYER, LAST, how)
        second = await second_of_sale(house, opened.session)
        house.clock.shift_ns -= round(0.4 * NS_PER_S)
        await watch_until(house, key, 100, WATCHED)

        assert (73 < first < 85, 100 < second < 115) == (True, True)
        assert await balance(house, MAKER) == PRICE - 100 + owner_part(first) + creator_part(WATCHED)
        assert await balance(house, BUYER) == FUNDS - 100 + owner_part(second - first)
        assert await balance(house, LAST) == FUNDS - PRICE + owner_part(WATCHED - second)
        assert await balance(house, VIEWER) == FUNDS - WATCHED


async def sell(market: Parts, seller: UserId, buyer: UserId, how: str) -> None:
    """By a listing, or by an offer."""
    meme, terms = MemeId(MEME), Terms(Sats(PRICE))
    if how == "purchase":
        listing = await market.selling.create(
            listing_id=ListingId(uuid7()), meme_id=meme, seller_id=seller, terms=terms
        )
        await market.buying.purchase(
            sale_id=SaleId(uuid7()), listing_id=listing.id, buyer_id=buyer, expected_price_sats=PRICE
        )
        return
    expires_ns = market.settlement._clock.now_ns() + 60 * NS_PER_S
    offer = await market.bidding.make(
        offer_id=OfferId(uuid7()), meme_id=meme, buyer_id=buyer, terms=Terms(Sats(PRICE), expires_ns)
    )
    await market.accepting.accept(sale_id=SaleId(uuid7()), offer_id=offer.id, user_id=seller)
