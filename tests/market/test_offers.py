"""Offers: their money is held, used, or free again; and one of many who want the same title gets it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mesh.errors import Failure, IdReused, Unavailable
from services.ledger.domain import commands as c
from services.market.app.ports import OfferFilter
from services.market.domain.deals import FEE_ACCOUNT, HOLD_OUTLASTS_S
from services.market.domain.failures import (
    InsufficientFunds,
    NotOwner,
    OfferClosed,
    SelfPurchase,
    TitleBusy,
)
from services.market.domain.offers import Offer
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import UserId
from tests.market.fakes import Fault
from tests.market.world import FUNDS, HOUR_S, PRICE, World


async def state_of(world: World, offer: Offer) -> OfferState:
    return (await world.reading.offer(offer.id)).state


async def test_an_accepted_offer_moves_money_and_title(world: World) -> None:
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    offer = await world.offer(buyer, meme)
    assert (offer.state, offer.seller_id) == (OfferState.OPEN, seller)
    assert (world.ledger.sats(buyer), world.ledger.held(buyer)) == (FUNDS, PRICE)
    sale = await world.accept(seller, offer)
    assert (sale.price_sats, sale.fee_sats, sale.offer_id, sale.listing_id) == (PRICE, 100, offer.id, None)
    assert (world.ledger.sats(buyer), world.ledger.held(buyer)) == (FUNDS - PRICE, 0)
    assert (world.ledger.sats(seller), world.ledger.sats(FEE_ACCOUNT)) == (FUNDS + PRICE - 100, 100)
    assert world.ledger.owner_of(meme) == buyer
    assert await world.accept(seller, offer, sale.id) == sale
    await world.settle_down()
    assert [told.state for told in world.news.offers] == [OfferState.OPEN, OfferState.ACCEPTED]
    await world.check()


async def test_money_that_is_held_cannot_be_spent_and_is_enough(world: World) -> None:
    """Whatever the buyer does meanwhile, accepting does not fail for lack of money."""
    seller, buyer, other = world.person(), world.person(), world.person()
    offer = await world.offer(buyer, world.meme(seller), FUNDS - 2_000)
    with pytest.raises(InsufficientFunds):
        await world.offer(buyer, world.meme(seller), 2_001)
    with pytest.raises(InsufficientFunds):
        await world.buy(buyer, await world.list_title(other, world.meme(other), 2_001))
    world.ledger.move(buyer, other, amount=2_000)
    reversal = c.ReverseDeposit(world.new_id(), world.ledger.deposits[buyer], "the chain undid it")
    world.ledger.do(reversal)
    assert world.ledger.account(buyer).debt == FUNDS
    await world.accept(seller, offer)
    assert world.ledger.sats(buyer) == 0
    await world.settle_down()
    await world.check()


async def test_cancelling_frees_the_money(world: World) -> None:
    seller, buyer = world.person(), world.person()
    offer = await world.offer(buyer, world.meme(seller))
    cancelled = await world.bidding.cancel(offer.id, user_id=buyer, is_admin=False)
    assert cancelled.state is OfferState.CANCELLED
    assert world.ledger.held(buyer) == 0
    with pytest.raises(OfferClosed) as closed:
        await world.accept(seller, offer)
    assert closed.value.metadata == {"state": "CANCELLED"}
    await world.settle_down()
    await world.check()


async def test_a_cancelled_offer_stays_so_when_the_ledger_is_away(world: World) -> None:
    seller, buyer = world.person(), world.person()
    offer = await world.offer(buyer, world.meme(seller))
    world.ledger.delays = True
    cancelled = await world.bidding.cancel(offer.id, user_id=buyer, is_admin=False)
    assert (cancelled.state, world.ledger.held(buyer)) == (OfferState.CANCELLED, PRICE)
    world.ledger.late.clear()
    world.ledger.delays = False
    await world.recovery.recover(age_s=0)
    assert world.ledger.held(buyer) == 0
    await world.check()


async def test_expiry_frees_the_money_whoever_is_awake(world: World) -> None:
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    swept = await world.offer(buyer, meme, expires_ns=world.after(60))
    await world.clock.advance(60)
    with pytest.raises(OfferClosed) as closed:
        await world.accept(seller, swept)
    assert closed.value.metadata == {"state": "EXPIRED"}
    assert world.ledger.held(buyer) == PRICE, "nobody has swept"
    await world.expiry.sweep()
    assert world.ledger.held(buyer) == 0
    assert (await world.reading.offer(swept.id)).closed_ns == swept.terms.expires_ns

    left = await world.offer(buyer, meme, expires_ns=world.after(60))
    await world.clock.advance(60 + HOLD_OUTLASTS_S + 1)
    assert world.ledger.held(buyer) == 0, "the ledger does it by itself when no market runs"
    world.start()
    await world.expiry.sweep()
    assert await state_of(world, left) is OfferState.EXPIRED
    await world.settle_down()
    await world.check()


async def test_a_claim_in_time_is_settled_also_after_the_expiry(world: World) -> None:
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    offer = await world.offer(buyer, meme, expires_ns=world.after(60))
    world.ledger.delays = True
    sale_id = world.new_id()
    with pytest.raises(Unavailable):
        await world.accept(seller, offer, sale_id)
    world.ledger.late.clear()
    world.ledger.delays = False
    await world.clock.advance(120)
    await world.expiry.sweep()
    assert await state_of(world, offer) is OfferState.SETTLING
    assert (await world.accept(seller, offer, sale_id)).buyer_id == buyer
    await world.settle_down()
    await world.check()


async def test_an_acceptance_that_outlives_the_hold_moves_nothing(world: World) -> None:
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    offer = await world.offer(buyer, meme, expires_ns=world.after(60))
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.accept(seller, offer)
    world.ledger.late.clear()
    world.ledger.delays = False
    await world.clock.advance(60 + HOLD_OUTLASTS_S + 1)
    await world.settle_down()
    assert await state_of(world, offer) is OfferState.EXPIRED
    assert (world.ledger.owner_of(meme), world.ledger.sats(buyer)) == (seller, FUNDS)
    await world.list_title(seller, meme)
    await world.check()


async def test_a_sale_closes_the_other_offers_and_those_to_the_new_owner_stay(world: World) -> None:
    seller, buyer, *others = (world.person() for _ in range(5))
    meme, elsewhere = world.meme(seller), world.meme(seller)
    stale = [await world.offer(one, meme) for one in others]
    kept = await world.offer(others[0], elsewhere)
    await world.buy(buyer, await world.list_title(seller, meme))
    fresh = await world.offer(others[0], meme, 1_000)
    with pytest.raises(NotOwner):
        await world.accept(seller, stale[0])
    assert await world.outbox.deliver()
    assert {await state_of(world, offer) for offer in stale} == {OfferState.SUPERSEDED}
    assert {await state_of(world, offer) for offer in (kept, fresh)} == {OfferState.OPEN}
    assert [world.ledger.held(one) for one in others] == [PRICE + 1_000, 0, 0]
    await world.accept(buyer, fresh)
    await world.settle_down()
    await world.check()


async def test_an_offer_made_while_the_title_is_sold_does_not_stay_open(world: World) -> None:
    """The owner is asked for, then the title is sold and the outbox runs, then the offer is recorded."""
    seller, buyer, other = world.person(), world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)
    terms_made = await world.offer(other, world.meme(seller))
    late = replace(terms_made, id=world.new_id(), meme_id=meme, state=OfferState.PENDING)  # type: ignore[arg-type] # any id
    await world.buy(buyer, listing)
    assert await world.outbox.deliver()
    await world.offers.create(late)
    await world.recovery.recover(age_s=0)
    assert await state_of(world, late) is OfferState.SUPERSEDED
    await world.settle_down()
    await world.check()


async def test_accepting_ends_the_listing_of_the_title(world: World) -> None:
    seller, buyer, other = world.person(), world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme, 9_000)
    await world.accept(seller, await world.offer(buyer, meme))
    assert (await world.reading.listing(listing.id)).state is ListingState.CANCELLED
    with pytest.raises(Failure) as closed:
        await world.buy(other, listing)
    assert closed.value.reason == "LISTING_CLOSED"
    assert (await world.list_title(buyer, meme)).state is ListingState.OPEN
    await world.settle_down()
    await world.check()


@pytest.mark.parametrize("purchase_goes_through", [True, False])
async def test_an_acceptance_waits_for_the_purchase_before_it(
    world: World, purchase_goes_through: bool
) -> None:
    seller, buyer, rival = world.person(), world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)
    offer = await world.offer(buyer, meme)
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.buy(rival, listing)
    if not purchase_goes_through:
        world.ledger.late.clear()
    world.ledger.delays = False
    sale_id = world.new_id()
    with pytest.raises(Unavailable):
        await world.accept(seller, offer, sale_id)
    if not purchase_goes_through:
        world.ledger.move(rival, buyer, amount=FUNDS)
    await world.settle_down()
    assert world.ledger.owner_of(meme) == (rival if purchase_goes_through else buyer)
    expected = OfferState.SUPERSEDED if purchase_goes_through else OfferState.ACCEPTED
    assert await state_of(world, offer) is expected
    await world.check()


async def test_nobody_lists_a_title_that_is_being_sold(world: World) -> None:
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    offer = await world.offer(buyer, meme)
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.accept(seller, offer)
    world.ledger.delays = False
    with pytest.raises(TitleBusy):
        await world.list_title(seller, meme)
    await world.settle_down()
    assert world.ledger.owner_of(meme) == buyer
    await world.check()


async def test_of_offers_accepted_at_once_one_gets_the_title(world: World) -> None:
    seller = world.person()
    meme = world.meme(seller)
    buyers = [world.person() for _ in range(5)]
    offers = [await world.offer(one, meme, 1_000 + number) for number, one in enumerate(buyers)]
    instances = [world.one, world.instance()]
    answers = await asyncio.gather(
        *(world.accept(seller, offer, at=instances[n % 2]) for n, offer in enumerate(offers)),
        return_exceptions=True,
    )
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    await world.settle_down()
    states = sorted([await state_of(world, offer) for offer in offers])
    assert states == [OfferState.ACCEPTED] + [OfferState.SUPERSEDED] * 4
    assert len(await world.sales_made()) == 1
    await world.check()


async def test_offers_that_are_refused_change_nothing(world: World) -> None:
    seller, buyer, poor = world.person(), world.person(), world.person(PRICE - 1)
    meme = world.meme(seller)
    offer = await world.offer(buyer, meme)
    before = await world.state()
    with pytest.raises(SelfPurchase):
        await world.offer(seller, meme)
    with pytest.raises(InsufficientFunds) as funds:
        await world.offer(poor, meme)
    assert funds.value.metadata == {"available": str(PRICE - 1), "needed": str(PRICE)}
    for again in (
        world.offer(buyer, meme, PRICE + 1, offer_id=offer.id),
        world.offer(poor, meme, offer_id=offer.id),
        world.offer(buyer, meme, offer_id=offer.id, expires_ns=world.after(2 * HOUR_S)),
    ):
        with pytest.raises(IdReused):
            await again
    assert await world.offer(buyer, meme, offer_id=offer.id) == offer
    assert await world.state() == before


async def test_one_sale_id_for_an_offer_and_a_listing(world: World) -> None:
    seller, buyer = world.person(), world.person()
    listing = await world.list_title(seller, world.meme(seller))
    offer = await world.offer(buyer, world.meme(seller))
    sale_id = world.new_id()
    await world.buy(buyer, listing, sale_id)
    before = await world.state()
    with pytest.raises(IdReused):
        await world.accept(seller, offer, sale_id)
    assert await world.state() == before
    await world.accept(seller, offer)
    await world.settle_down()
    await world.check()


async def test_a_pending_offer_is_opened_or_cancelled_when_the_ledger_is_back(world: World) -> None:
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    ids = [world.new_id(), world.new_id()]
    for offer_id in ids:
        world.ledger.delays = True
        with pytest.raises(Unavailable):
            await world.offer(buyer, meme, 1_000, offer_id=offer_id)
    world.ledger.late.clear()
    world.ledger.delays = False
    pending, _ = await world.reading.list_offers(OfferFilter(state=OfferState.PENDING), page_size=0, token="")
    assert sorted(offer.id for offer in pending) == sorted(ids)
    cancelled = await world.bidding.cancel(pending[0].id, user_id=buyer, is_admin=False)
    assert cancelled.state is OfferState.CANCELLED
    await world.recovery.recover(age_s=0)
    assert await state_of(world, pending[1]) is OfferState.OPEN
    assert world.ledger.held(buyer) == 1_000
    await world.settle_down()
    await world.check()


async def test_expiry_goes_on_after_failures_and_finds_what_it_missed(world: World) -> None:
    seller, buyer = world.person(), world.person()
    await world.expiry.sweep()
    offer = await world.offer(buyer, world.meme(seller), expires_ns=world.after(30))
    listing = await world.list_title(seller, world.meme(seller), expires_ns=world.after(30))
    running = asyncio.create_task(world.expiry.run())
    for at in range(1, 8):
        world.steps.go_wrong(Fault.FAIL_BEFORE, at)
        await world.clock.advance(10)
        await asyncio.sleep(0.01)
    world.steps.go_right()
    async with asyncio.timeout(60):
        while world.ledger.held(buyer) or len(world.news.listings) < 2:
            await world.clock.advance(1)
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [told.state for told in world.news.listings] == [ListingState.OPEN, ListingState.EXPIRED]
    assert [told.state for told in world.news.offers] == [OfferState.OPEN, OfferState.EXPIRED]
    assert (await world.reading.listing(listing.id)).closed_ns == listing.terms.expires_ns
    assert await state_of(world, offer) is OfferState.EXPIRED
    await world.settle_down()
    await world.check()


async def test_lists_of_offers(world: World) -> None:
    seller, other = world.person(), world.person()
    buyers = [world.person(), world.person()]
    memes = [world.meme(seller), world.meme(other)]
    made = []
    for number in range(4):
        await world.clock.advance(0.01)
        made.append(await world.offer(buyers[number % 2], memes[number // 2], 1_000))
    await world.bidding.cancel(made[0].id, user_id=buyers[0], is_admin=False)
    ids = [offer.id for offer in made]

    async def found(which: OfferFilter) -> list[str]:
        first, token = await world.reading.list_offers(which, page_size=1, token="")
        rest, end = await world.reading.list_offers(which, page_size=9, token=token) if token else ([], "")
        assert end == ""
        return [offer.id for offer in (*first, *rest)]

    assert await found(OfferFilter()) == ids[::-1]
    assert await found(OfferFilter(meme_id=memes[0])) == [ids[1], ids[0]]
    assert await found(OfferFilter(meme_id=memes[0], state=OfferState.OPEN)) == [ids[1]]
    assert await found(OfferFilter(buyer_id=buyers[0])) == [ids[2], ids[0]]
    assert await found(OfferFilter(seller_id=other)) == [ids[3], ids[2]]
    assert await found(OfferFilter(state=OfferState.CANCELLED)) == [ids[0]]
    assert await found(OfferFilter(buyer_id=UserId("nobody"))) == []
