"""Purchases over real channels, and a ledger that refuses them or is away."""

from __future__ import annotations

import asyncio

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.market.v1 import market_pb2
from satreel.market.v1 import market_service_pb2 as pb

from mesh.errors import Code, RemoteFailure, Unavailable
from mesh.ids import uuid7
from tests.market.rpc.channels import Market, a_meme, a_person, money, refused
from tests.market.world import FUNDS, PRICE

Reason = ledger_pb2.ErrorReason


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
