"""Use cases over a real store: what is refused changes nothing, and one of many buyers wins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from mesh.errors import Failure, IdReused, Unavailable
from services.market.domain.deals import FEE_ACCOUNT
from services.market.domain.failures import (
    AlreadyListed,
    InsufficientFunds,
    ListingClosed,
    ListingNotFound,
    NotOwner,
    NotSeller,
    PriceChanged,
    PriceTooLow,
    SelfPurchase,
    TitleNotFound,
)
from services.market.domain.listings import Listing
from services.market.domain.states import ListingState
from services.market.domain.values import MemeId, SaleId
from tests.market.fakes import Fault
from tests.market.world import FUNDS, PRICE, World


async def state_of(world: World, listing: Listing) -> ListingState:
    return (await world.reading.listing(listing.id)).state


async def test_a_title_is_listed_sold_and_moved(world: World) -> None:
    seller, buyer = world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)
    sale = await world.buy(buyer, listing)
    assert (sale.price_sats, sale.fee_sats, sale.number) == (PRICE, 100, 1)
    assert world.ledger.sats(buyer) == FUNDS - PRICE
    assert world.ledger.sats(seller) == FUNDS + PRICE - 100
    assert world.ledger.sats(FEE_ACCOUNT) == 100
    assert world.ledger.owner_of(meme) == buyer
    sold = await world.reading.listing(listing.id)
    assert (sold.state, sold.sale_id, sold.closed_ns) == (ListingState.SOLD, sale.id, sale.sold_ns)
    await world.settle_down()
    assert world.chain.owners[meme] == buyer
    assert [told.id for told in world.news.sales] == [sale.id]
    assert [told.state for told in world.news.listings] == [ListingState.OPEN, ListingState.SOLD]
    await world.check()


async def test_the_buyer_can_sell_on_and_quotes_follow(world: World) -> None:
    people = [world.person() for _ in range(4)]
    meme = world.meme(people[0])
    for seller, buyer, price in zip(people, people[1:], (1_000, 3_000, 2_000), strict=False):
        await world.buy(buyer, await world.list_title(seller, meme, price))
    offered = await world.list_title(people[3], meme, 9_000)
    [(quote, open_listing)] = await world.reading.quotes([meme])
    assert (quote.sales, quote.volume_sats, quote.last_price_sats) == (3, 6_000, 2_000)
    assert open_listing == offered
    await world.settle_down()
    assert [sale.number for sale in world.chain.accepted.values()] == [1, 2, 3]
    await world.check()


async def test_listing_again_with_the_same_words_answers_the_same(world: World) -> None:
    seller = world.person()
    meme, other = world.meme(seller), world.meme(seller)
    listing = await world.list_title(seller, meme)
    assert await world.list_title(seller, meme, listing_id=listing.id) == listing
    before = await world.state()
    for price, which in ((PRICE + 1, meme), (PRICE, other)):
        with pytest.raises(IdReused):
            await world.list_title(seller, which, price, listing_id=listing.id)
    assert await world.state() == before
    await world.buy(world.person(), listing)
    assert (await world.list_title(seller, meme, listing_id=listing.id)).state is ListingState.SOLD


async def test_one_id_for_two_memes_at_the_same_moment(world: World) -> None:
    seller = world.person()
    memes = [world.meme(seller) for _ in range(4)]
    listing_id = world.new_id()
    answers = await asyncio.gather(
        *(world.list_title(seller, meme, listing_id=listing_id) for meme in memes), return_exceptions=True
    )
    assert sum(isinstance(answer, Listing) for answer in answers) == 1
    assert sum(isinstance(answer, IdReused) for answer in answers) == 3
    for meme, answer in zip(memes, answers, strict=True):
        if isinstance(answer, IdReused):
            assert (await world.list_title(seller, meme)).state is ListingState.OPEN
    await world.settle_down()
    await world.check()


async def test_a_place_held_for_a_listing_of_another_meme_is_free(world: World) -> None:
    """As after a crash between the use of one id for two memes and the clearing up."""
    seller = world.person()
    meme, other = world.meme(seller), world.meme(seller)
    listing = await world.list_title(seller, meme)
    ghost = replace(listing, meme_id=other)
    await world.quotes.change(other, lambda quote: quote.taken_by(ghost))
    assert (await world.list_title(seller, other)).state is ListingState.OPEN
    assert await state_of(world, listing) is ListingState.OPEN
    await world.check()


async def test_listings_that_are_refused(world: World) -> None:
    seller, other = world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)
    before = await world.state()
    with pytest.raises(PriceTooLow):
        await world.list_title(seller, meme, 999)
    with pytest.raises(TitleNotFound):
        await world.list_title(seller, MemeId(world.new_id()))
    with pytest.raises(NotOwner) as not_owner:
        await world.list_title(other, meme)
    assert not_owner.value.metadata == {"owner_id": seller}
    with pytest.raises(AlreadyListed) as listed:
        await world.list_title(seller, meme)
    assert listed.value.metadata == {"listing_id": listing.id}
    assert await world.state() == before


async def test_one_of_many_listings_of_a_title_at_the_same_moment(world: World) -> None:
    seller = world.person()
    meme = world.meme(seller)
    answers = await asyncio.gather(
        *(world.list_title(seller, meme) for _ in range(6)), return_exceptions=True
    )
    assert sum(isinstance(answer, Listing) for answer in answers) == 1
    assert sum(isinstance(answer, AlreadyListed) for answer in answers) == 5
    await world.settle_down()
    await world.check()


async def test_cancelling(world: World) -> None:
    seller, other = world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)
    with pytest.raises(NotSeller):
        await world.selling.cancel(listing.id, user_id=other, is_admin=False)
    with pytest.raises(ListingNotFound):
        await world.selling.cancel(world.new_id(), user_id=seller, is_admin=False)  # type: ignore[arg-type] # any id
    assert await state_of(world, listing) is ListingState.OPEN
    cancelled = await world.selling.cancel(listing.id, user_id=seller, is_admin=False)
    assert cancelled.state is ListingState.CANCELLED
    assert await world.selling.cancel(listing.id, user_id=seller, is_admin=False) == cancelled
    before = await world.state()
    with pytest.raises(ListingClosed) as closed:
        await world.buy(other, listing)
    assert closed.value.metadata == {"state": "CANCELLED"}
    assert await world.state() == before
    assert [told.state for told in world.news.listings] == [ListingState.OPEN, ListingState.CANCELLED]
    again = await world.list_title(seller, meme)
    await world.selling.cancel(again.id, user_id=other, is_admin=True)
    await world.check()


async def test_purchases_that_are_refused(world: World) -> None:
    seller, buyer, poor = world.person(), world.person(), world.person(PRICE - 1)
    listing = await world.list_title(seller, world.meme(seller))
    before = await world.state()
    with pytest.raises(ListingNotFound):
        await world.buying.purchase(
            sale_id=SaleId(world.new_id()),
            listing_id=world.new_id(),  # type: ignore[arg-type] # any id
            buyer_id=buyer,
            expected_price_sats=PRICE,
        )
    with pytest.raises(SelfPurchase):
        await world.buy(seller, listing)
    with pytest.raises(PriceChanged) as changed:
        await world.buy(buyer, listing, expected=PRICE - 1)
    assert changed.value.metadata == {"price": str(PRICE)}
    with pytest.raises(InsufficientFunds) as funds:
        await world.buy(poor, listing)
    assert funds.value.metadata == {"available": str(PRICE - 1), "needed": str(PRICE)}
    assert await world.state() == before
    await world.buy(buyer, listing)
    with pytest.raises(ListingClosed):
        await world.selling.cancel(listing.id, user_id=seller, is_admin=False)
    await world.settle_down()
    await world.check()


async def test_a_purchase_repeated_answers_the_same_sale(world: World) -> None:
    seller, buyer = world.person(), world.person()
    listing = await world.list_title(seller, world.meme(seller))
    other = await world.list_title(seller, world.meme(seller))
    sale = await world.buy(buyer, listing)
    assert await world.buy(buyer, listing, sale.id) == sale
    before = await world.state()
    for someone, which, price in (
        (seller, listing, PRICE),
        (buyer, other, PRICE),
        (buyer, listing, PRICE + 1),
    ):
        with pytest.raises(IdReused):
            await world.buy(someone, which, sale.id, expected=price)
    assert await world.state() == before


async def test_one_sale_id_for_two_listings_at_the_same_moment(world: World) -> None:
    seller, buyer = world.person(), world.person()
    listings = [await world.list_title(seller, world.meme(seller)) for _ in range(2)]
    sale_id = world.new_id()
    answers = await asyncio.gather(
        *(world.buy(buyer, listing, sale_id) for listing in listings), return_exceptions=True
    )
    assert sum(isinstance(answer, IdReused) for answer in answers) == 1
    assert world.ledger.sats(buyer) == FUNDS - PRICE
    await world.settle_down()
    await world.check()
    assert len(await world.sales_made()) == 1


async def test_one_of_many_buyers_at_the_same_moment(world: World) -> None:
    seller = world.person()
    buyers = [world.person() for _ in range(12)]
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)
    answers = await asyncio.gather(*(world.buy(buyer, listing) for buyer in buyers), return_exceptions=True)
    reasons = [answer.reason for answer in answers if isinstance(answer, Failure)]
    assert reasons == ["LISTING_CLOSED"] * 11
    winner = world.ledger.owner_of(meme)
    assert {world.ledger.sats(buyer) for buyer in buyers if buyer != winner} == {FUNDS}
    assert world.ledger.sats(winner) == FUNDS - PRICE
    await world.settle_down()
    await world.check()


async def test_money_that_goes_elsewhere_in_between_reopens_the_listing(world: World) -> None:
    seller, buyer = world.person(), world.person(PRICE)
    listings = [await world.list_title(seller, world.meme(seller)) for _ in range(3)]
    answers = await asyncio.gather(
        *(world.buy(buyer, listing) for listing in listings), return_exceptions=True
    )
    assert sum(isinstance(answer, InsufficientFunds) for answer in answers) == 2
    states = sorted([await state_of(world, listing) for listing in listings])
    assert states == [ListingState.OPEN, ListingState.OPEN, ListingState.SOLD]
    assert world.ledger.sats(buyer) == 0
    await world.settle_down()
    await world.check()


async def test_a_seller_without_the_title_closes_the_listing(world: World) -> None:
    seller, buyer, heir = world.person(), world.person(), world.person()
    meme = world.meme(seller)
    listing = await world.list_title(seller, meme)
    world.ledger.move(seller, heir, f"title:{meme}")
    money = world.ledger.digest()
    with pytest.raises(NotOwner):
        await world.buy(buyer, listing)
    assert world.ledger.digest() == money
    assert await state_of(world, listing) is ListingState.CANCELLED
    assert (await world.list_title(heir, meme)).state is ListingState.OPEN


async def test_a_new_owner_may_list_over_a_listing_that_is_worth_nothing(world: World) -> None:
    seller, heir = world.person(), world.person()
    meme = world.meme(seller)
    stale = await world.list_title(seller, meme)
    world.ledger.move(seller, heir, f"title:{meme}")
    fresh = await world.list_title(heir, meme)
    assert await state_of(world, stale) is ListingState.CANCELLED
    assert await state_of(world, fresh) is ListingState.OPEN
    await world.check()


async def test_a_ledger_in_doubt_leaves_the_listing_settling_until_it_is_known(world: World) -> None:
    seller, buyer, other = world.person(), world.person(), world.person()
    listing = await world.list_title(seller, world.meme(seller))
    sale_id = world.new_id()
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.buy(buyer, listing, sale_id)
    assert await state_of(world, listing) is ListingState.SETTLING
    with pytest.raises(ListingClosed) as closed:
        await world.buy(other, listing)
    assert closed.value.metadata == {"state": "SETTLING"}
    with pytest.raises(ListingClosed):
        await world.selling.cancel(listing.id, user_id=seller, is_admin=False)
    world.ledger.late.clear()
    world.ledger.delays = False
    assert (await world.buy(buyer, listing, sale_id)).id == sale_id
    await world.settle_down()
    await world.check()


async def test_what_was_refused_once_is_not_made_by_a_late_copy(world: World) -> None:
    seller, buyer, other = world.person(), world.person(), world.person()
    listing = await world.list_title(seller, world.meme(seller))
    sale_id = world.new_id()
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.buy(buyer, listing, sale_id)
    world.ledger.delays = False
    world.ledger.move(buyer, other, amount=FUNDS)
    with pytest.raises(InsufficientFunds):
        await world.buy(buyer, listing, sale_id)
    assert await state_of(world, listing) is ListingState.OPEN
    world.ledger.move(other, buyer, amount=FUNDS)
    world.ledger.arrive()
    with pytest.raises(InsufficientFunds) as again:
        await world.buy(buyer, listing, sale_id)
    assert again.value.metadata == {"needed": str(PRICE)}
    assert await state_of(world, listing) is ListingState.OPEN
    await world.buy(buyer, listing)
    await world.settle_down()
    await world.check()


async def test_a_settlement_that_arrives_late_counts(world: World) -> None:
    seller, buyer = world.person(), world.person()
    listing = await world.list_title(seller, world.meme(seller))
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.buy(buyer, listing)
    await world.settle_down()
    assert await state_of(world, listing) is ListingState.SOLD
    await world.check()


async def test_titles_follow_on_chain_in_order_once_the_chain_is_back(world: World) -> None:
    people = [world.person() for _ in range(3)]
    meme = world.meme(people[0])
    world.chain.away = True
    for seller, buyer in pairwise(people):
        await world.buy(buyer, await world.list_title(seller, meme))
        assert not await world.outbox.deliver()
    assert world.chain.owners == {}
    assert len(world.news.sales) == 1, "news of the second waits for the first: they are told in order"
    world.chain.away = False
    await world.settle_down()
    assert world.chain.owners[meme] == people[2]
    assert [sale.number for sale in world.news.sales] == [1, 2]
    await world.check()


async def test_background_work_settles_and_delivers_by_itself(world: World) -> None:
    seller, buyer = world.person(), world.person()
    listing = await world.list_title(seller, world.meme(seller))
    world.ledger.delays = True
    with pytest.raises(Unavailable):
        await world.buy(buyer, listing)
    world.ledger.delays = False
    tasks = [asyncio.create_task(work()) for work in (world.recovery.run, world.outbox.run)]
    async with asyncio.timeout(60):
        while not world.chain.accepted:
            await asyncio.sleep(0.01)
            await world.clock.advance(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await state_of(world, listing) is ListingState.SOLD


async def test_background_work_outlives_failures(world: World) -> None:
    tasks = [asyncio.create_task(work()) for work in (world.recovery.run, world.outbox.run)]
    for at in range(1, 6):
        world.steps.go_wrong(Fault.FAIL_BEFORE, at)
        await asyncio.sleep(0.02)
        await world.clock.advance(120)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_lists_run_newest_first_by_page(world: World) -> None:
    from services.market.app.ports import ListingFilter, SaleFilter

    seller, buyer = world.person(), world.person(10 * PRICE)
    listings = []
    for number in range(6):
        await world.clock.advance(0.01)
        listings.append(await world.list_title(seller, world.meme(seller)))
        if number % 2:
            await world.buy(buyer, listings[-1])
    newest = [listing.id for listing in reversed(listings)]

    async def pages(which: ListingFilter) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page, token = await world.reading.list_listings(which, page_size=2, token=token)
            found += [listing.id for listing in page]
            assert len(page) == 2 or not token
            if not token:
                return found

    assert await pages(ListingFilter()) == newest
    assert await pages(ListingFilter(seller_id=seller)) == newest
    assert await pages(ListingFilter(state=ListingState.SOLD)) == newest[::2]
    assert await pages(ListingFilter(state=ListingState.OPEN, seller_id=seller)) == newest[1::2]
    assert await pages(ListingFilter(meme_id=listings[2].meme_id)) == [listings[2].id]
    assert await pages(ListingFilter(seller_id=buyer)) == []
    for which in (SaleFilter(user_id=seller), SaleFilter(user_id=buyer), SaleFilter()):
        first, token = await world.reading.list_sales(which, page_size=2, token="")
        rest, end = await world.reading.list_sales(which, page_size=2, token=token)
        assert [sale.listing_id for sale in (*first, *rest)] == newest[::2]
        assert end == ""
