"""The process dies, or the world fails, at every single step of an offer's life."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.market.domain.deals import FEE_ACCOUNT
from services.market.domain.states import ListingState, OfferState
from tests.market.fakes import Fault
from tests.market.test_crashes import at_every_step, survive
from tests.market.world import FUNDS, PRICE, World

repeated = pytest.mark.parametrize(
    "repeated", [False, True], ids=["the caller is gone", "the caller repeats"]
)
faults = pytest.mark.parametrize("fault", Fault)


@repeated
@faults
async def test_making_an_offer(fault: Fault, repeated: bool) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, buyer = world.person(), world.person()
        meme, offer_id = world.meme(seller), world.new_id()
        arm()
        await survive(world.offer(buyer, meme, offer_id=offer_id))
        world.remember_hit()
        await world.settle_down()
        await world.check()
        _, offers, _ = await world.everything()
        if repeated:
            expires_ns = offers[0].terms.expires_ns if offers else None
            offer = await world.offer(buyer, meme, offer_id=offer_id, expires_ns=expires_ns)
            assert offer.state is OfferState.OPEN
            await world.accept(seller, offer)
            await world.settle_down()
        await world.check()

    assert await at_every_step(fault, scenario) >= 7


@faults
async def test_cancelling_an_offer(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, buyer = world.person(), world.person()
        offer = await world.offer(buyer, world.meme(seller))
        arm()
        await survive(world.bidding.cancel(offer.id, user_id=buyer, is_admin=False))
        world.remember_hit()
        await world.settle_down()
        await world.check()
        cancelled = await world.bidding.cancel(offer.id, user_id=buyer, is_admin=False)
        assert cancelled.state is OfferState.CANCELLED
        await world.settle_down()
        assert world.ledger.held(buyer) == 0
        await world.check()

    assert await at_every_step(fault, scenario) >= 4


@repeated
@faults
async def test_accepting_an_offer_while_the_title_is_listed(fault: Fault, repeated: bool) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, buyer, rival = world.person(), world.person(), world.person()
        meme = world.meme(seller)
        listing = await world.list_title(seller, meme, 9_000)
        beaten = await world.offer(rival, meme, 1_000)
        offer = await world.offer(buyer, meme)
        sale_id = world.new_id()
        arm()
        await survive(world.accept(seller, offer, sale_id))
        await survive(world.outbox.deliver())
        world.remember_hit()
        await world.settle_down()
        await world.check()
        if repeated:
            assert (await world.accept(seller, offer, sale_id)).id == sale_id
            await world.settle_down()
            await world.check()
        sold = world.ledger.owner_of(meme) == buyer
        assert sold or not repeated
        paid = PRICE if sold else 0
        assert world.ledger.sats(buyer) == FUNDS - paid
        assert world.ledger.sats(seller) + world.ledger.sats(FEE_ACCOUNT) == FUNDS + paid
        assert (await world.reading.offer(offer.id)).state is (
            OfferState.ACCEPTED if sold else OfferState.OPEN
        )
        assert (await world.reading.offer(beaten.id)).state is (
            OfferState.SUPERSEDED if sold else OfferState.OPEN
        )
        if not sold and (await world.reading.listing(listing.id)).state is ListingState.OPEN:
            await world.buy(rival, listing)
            await world.settle_down()
            await world.check()

    assert await at_every_step(fault, scenario) >= 20


@faults
async def test_an_acceptance_that_the_ledger_refuses(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, heir, buyer = world.person(), world.person(), world.person()
        meme = world.meme(seller)
        offer = await world.offer(buyer, meme)
        world.ledger.move(seller, heir, f"title:{meme}")
        await world.list_title(heir, meme)
        arm()
        await survive(world.accept(seller, offer))
        world.remember_hit()
        await world.settle_down()
        await survive(world.bidding.cancel(offer.id, user_id=buyer, is_admin=False))
        await world.settle_down()
        assert (world.ledger.sats(buyer), world.ledger.held(buyer)) == (FUNDS, 0)
        assert await world.sales_made() == []
        await world.check()

    assert await at_every_step(fault, scenario) >= 6


@faults
async def test_expiry(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, buyer = world.person(), world.person()
        meme = world.meme(seller)
        listing = await world.list_title(seller, meme, expires_ns=world.after(10))
        offer = await world.offer(buyer, meme, expires_ns=world.after(10))
        await world.clock.advance(10)
        arm()
        await survive(world.expiry.sweep())
        world.remember_hit()
        await world.settle_down()
        assert (await world.reading.listing(listing.id)).state is ListingState.EXPIRED
        assert (await world.reading.offer(offer.id)).state is OfferState.EXPIRED
        assert world.ledger.held(buyer) == 0
        assert (await world.list_title(seller, meme)).state is ListingState.OPEN
        await world.check()

    assert await at_every_step(fault, scenario) >= 8


@faults
async def test_changing_a_listing(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, buyer = world.person(), world.person()
        listing = await world.list_title(seller, world.meme(seller))

        async def change() -> None:
            changed = await world.selling.change(
                listing.id, user_id=seller, expected_version=1, price_sats=PRICE + 1, expires_ns=None
            )
            assert (changed.version, changed.price_sats) == (2, PRICE + 1)

        arm()
        await survive(change())
        world.remember_hit()
        await world.settle_down()
        await change()
        await world.buy(buyer, listing, expected=PRICE + 1)
        await world.settle_down()
        await world.check()

    assert await at_every_step(fault, scenario) >= 2
