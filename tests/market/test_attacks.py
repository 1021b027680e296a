"""What somebody with bad intent, or bad luck, may try on the market; each has its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mesh.errors import Failure, InvalidArgument, Unavailable
from mesh.ids import uuid7
from services.market.app.ports import ListingFilter
from services.market.app.recovery import RECOVER_AFTER_S
from services.market.domain.deals import Leg, holds
from services.market.domain.failures import InsufficientFunds
from services.market.domain.states import ListingState, OfferState
from tests.market.fakes import FaultyStub
from tests.market.world import HOUR_S, World

Work = Callable[[], Awaitable[None]]


def before_owner_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, *, nth: int
) -> Callable[[Work], None]:
    """Decorates what happens after the ledger has read the owner the nth time, before its answer is back."""

    def wrap(work: Work) -> None:
        told, read = 0, FaultyStub.GetTitle

        async def slow(stub: FaultyStub, request: Any) -> Any:
            nonlocal told
            told += 1
            mine, answer = told, await read(stub, request)
            if mine == nth:
                await work()
            return answer

        monkeypatch.setattr(FaultyStub, "GetTitle", slow)

    return wrap


async def test_the_title_is_sold_while_an_offer_is_secured(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sale, and the end of offers to the former owner, come before it is open, after the last look."""
    seller, buyer, other = world.person(), world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)

    @before_owner_is_told(world, monkeypatch, nth=2)
    async def sold() -> None:
        await world.buy(buyer, listing)
        assert not await world.outbox.deliver()

    offer = await world.offer(other, meme)
    assert await world.outbox.deliver()
    assert (await world.reading.offer(offer.id)).state is OfferState.SUPERSEDED
    assert world.ledger.held(other) == 0
    await world.settle_down()
    await world.check()


async def test_the_title_is_sold_while_a_listing_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No listing of somebody without the title is shown as the floor."""
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)

    @before_owner_is_told(world, monkeypatch, nth=1)
    async def sold() -> None:
        await world.buy(buyer, listing)

    with pytest.raises(Failure) as refused:
        await world.list_title(seller, meme, 1_000)
    assert refused.value.reason == "NOT_OWNER"
    [(quote, for_sale)] = await world.reading.quotes([meme])
    assert (for_sale, quote.place, (await world.reading.overview()).floor_sats) == (None, None, 0)
    await world.settle_down()
    await world.check()


async def test_an_offer_whose_time_is_over_before_its_money_is_held(world: World) -> None:
    """Nothing stays held for it."""
    seller, buyer = world.person(), world.person()
    meme, offer_id, expires_ns = world.meme(seller), world.new_id(), world.after(30)
    await world.expiry.sweep()
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.offer(buyer, meme, offer_id=offer_id, expires_ns=expires_ns)
    world.ledger.arrive()
    for _ in range(20):
        await world.clock.advance(30)
        await world.expiry.sweep()
    offer = await world.offer(buyer, meme, offer_id=offer_id, expires_ns=expires_ns)
    assert offer.state is OfferState.EXPIRED
    assert world.ledger.held(buyer) == 0
    await world.settle_down()
    await world.check()


async def test_a_listing_that_expires_while_its_purchase_fails_is_told_and_gives_way(world: World) -> None:
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme, expires_ns=world.after(30))
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.buy(buyer, listing)
    world.ledger.late.clear()
    world.ledger.move(buyer, seller, amount=world.ledger.sats(buyer))
    world.ledger.delays = False
    await world.clock.advance(600)
    await world.recovery.recover(age_s=0)
    assert [told.state for told in world.news.listings] == [ListingState.OPEN, ListingState.EXPIRED]
    assert (await world.quotes.get(meme)).place is None
    await world.settle_down()
    await world.check()


async def test_a_clock_that_is_set_back_leaves_no_purchase_half_done(world: World) -> None:
    seller, buyer = world.person(), world.person()
    listing = await world.list_title(seller, world.meme(seller))
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.buy(buyer, listing)
    world.ledger.delays = False
    await world.clock.advance(-3_600)
    await world.recovery.recover(age_s=RECOVER_AFTER_S)
    found = await world.listings.get(listing.id)
    assert found is not None
    assert found.state is ListingState.SOLD
    await world.settle_down()
    await world.check()


@pytest.mark.parametrize("leg", [Leg.PROCEEDS, Leg.FEE])
async def test_no_id_of_a_caller_names_a_hold(world: World, leg: Leg) -> None:
    """What makes a sale impossible voids a hold named as the sale: nobody may name it as another's hold.

    All that it takes is an offer of one's own to accept, after the title went to somebody who listed it.
    """
    thief, friend, victim = world.person(), world.person(), world.person()
    prey = await world.offer(victim, world.meme(world.person()))
    [hold_id] = [hold.id for hold in holds(prey) if hold.leg is leg]
    meme = world.meme(thief)
    own = await world.offer(friend, meme)
    world.ledger.move(thief, friend, f"title:{meme}")
    await world.list_title(friend, meme)
    with pytest.raises(InvalidArgument):
        await world.accept(thief, own, hold_id)
    assert world.ledger.held(victim) == prey.price_sats
    with pytest.raises(InvalidArgument):
        await world.offer(friend, world.meme(thief), offer_id=hold_id)
    with pytest.raises(InvalidArgument):
        await world.list_title(friend, meme, listing_id=hold_id)


async def test_nobody_without_money_opens_an_offer(world: World) -> None:
    """Of many made at once with the money of one, one is open."""
    seller, buyer = world.person(), world.person(6_000)
    meme = world.meme(seller)
    made = await asyncio.gather(*(world.offer(buyer, meme) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, InsufficientFunds) for one in made) == 7
    assert world.ledger.held(buyer) == 5_000
    await world.settle_down()
    await world.check()


async def test_nobody_stays_on_top_of_the_list_with_an_id_of_tomorrow(world: World) -> None:
    seller = world.person()
    ahead_s = [23 * HOUR_S, HOUR_S, 301]
    for seconds in ahead_s:
        with pytest.raises(InvalidArgument):
            await world.list_title(seller, world.meme(seller), listing_id=uuid7(world.after(seconds)))
    first = await world.list_title(seller, world.meme(seller), listing_id=uuid7(world.after(299)))
    await world.clock.advance(300)
    second = await world.list_title(seller, world.meme(seller))
    shown, _ = await world.reading.list_listings(ListingFilter(), page_size=0, token="")
    assert [listing.id for listing in shown] == [second.id, first.id]
