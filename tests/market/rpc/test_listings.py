"""Listings over real channels: made, changed by version, cancelled, ended by the clock."""

from __future__ import annotations

from satreel.market.v1 import market_pb2
from satreel.market.v1 import market_service_pb2 as pb

from mesh.errors import Code
from mesh.ids import uuid7
from tests.market.rpc.channels import Market, a_meme, a_person, money, refused
from tests.market.world import PRICE


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
