"""Offers over real channels."""

from __future__ import annotations

from satreel.ledger.v1 import ledger_pb2
from satreel.market.v1 import market_pb2
from satreel.market.v1 import market_service_pb2 as pb

from mesh.errors import Code
from mesh.ids import uuid7
from tests.market.rpc.channels import Market, a_meme, a_person, money, refused
from tests.market.world import FUNDS, PRICE

Reason = ledger_pb2.ErrorReason


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
