"""What watchers of the market are told."""

from __future__ import annotations

from satreel.market.v1 import market_pb2
from satreel.market.v1 import market_service_pb2 as pb

from tests.market.rpc.channels import Market, a_meme, a_person
from tests.market.world import PRICE


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
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))
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
