"""The process dies, or the world fails, at every single step: things happen once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import Failure
from mesh.records.memory import MemoryStore
from services.market.adapters.records import SETS
from services.market.domain.deals import FEE_ACCOUNT
from services.market.domain.listings import Listing
from services.market.domain.states import ListingState
from services.market.domain.values import ListingId
from tests.market.fakes import Crash, Fault
from tests.market.world import FUNDS, PRICE, World, open_world

STEPS_MAX = 60


async def survive(work: Awaitable[object]) -> None:
    """Lets the work end as it likes: it succeeds, is refused, or the process dies under it."""
    try:
        with suppress(Failure, Crash):
            await work
    except BaseExceptionGroup as group:
        if group.split((Failure, Crash))[1] is not None:
            raise


async def at_every_step(
    fault: Fault, scenario: Callable[[World, Callable[[], None]], Awaitable[None]]
) -> int:
    """Runs the scenario again and again, each time with the fault one step later, until it is not reached.

    What a store keeps when its process dies is the stores' own test; this one is in memory and quick.
    """
    for at in range(1, STEPS_MAX):
        world = World(MemoryStore(SETS))

        def arm(world: World = world, at: int = at) -> None:
            world.steps.go_wrong(fault, at)

        await scenario(world, arm)
        if not world.hit:
            return at - 1
    raise AssertionError("the scenario has more steps than expected")


@pytest.mark.parametrize("repeated", [False, True], ids=["the buyer is gone", "the buyer repeats"])
@pytest.mark.parametrize("fault", Fault)
async def test_purchase(fault: Fault, repeated: bool) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, buyer, rival = world.person(), world.person(), world.person()
        meme = world.meme(seller)
        listing = await world.list_title(seller, meme)
        sale_id = world.new_id()
        arm()
        await survive(world.buy(buyer, listing, sale_id))
        await survive(world.outbox.deliver())
        world.remember_hit()
        await world.settle_down()
        await world.check()
        if repeated:
            assert (await world.buy(buyer, listing, sale_id)).id == sale_id
            await world.settle_down()
            await world.check()
        sold = world.ledger.owner_of(meme) == buyer
        paid = PRICE if sold else 0
        assert world.ledger.sats(buyer) == FUNDS - paid
        assert world.ledger.sats(seller) + world.ledger.sats(FEE_ACCOUNT) == FUNDS + paid
        state = (await world.reading.listing(listing.id)).state
        assert state is (ListingState.SOLD if sold else ListingState.OPEN)
        assert sold or not repeated
        if not sold:
            await world.buy(rival, listing)

    assert await at_every_step(fault, scenario) >= 15


@pytest.mark.parametrize("fault", Fault)
async def test_who_is_told_of_the_sale_lists_the_title_at_once(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, buyer = world.person(), world.person()
        meme = world.meme(seller)
        listing = await world.list_title(seller, meme)
        sale_id = world.new_id()
        arm()
        await survive(world.buy(buyer, listing, sale_id))
        world.remember_hit()
        world.steps.go_right()
        world.ledger.arrive()
        world.start()
        assert (await world.buy(buyer, listing, sale_id)).id == sale_id
        again = await world.list_title(buyer, meme)
        assert (again.state, again.seller_id) == (ListingState.OPEN, buyer)
        await world.settle_down()
        await world.check()

    assert await at_every_step(fault, scenario) > 0


@pytest.mark.parametrize("fault", Fault)
async def test_purchase_without_the_title(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller, heir, buyer = world.person(), world.person(), world.person()
        meme = world.meme(seller)
        listing = await world.list_title(seller, meme)
        world.ledger.move(seller, heir, f"title:{meme}")
        arm()
        await survive(world.buy(buyer, listing))
        world.remember_hit()
        await world.settle_down()
        assert world.ledger.sats(buyer) == FUNDS
        assert (await world.list_title(heir, meme)).state is ListingState.OPEN
        assert (await world.reading.listing(listing.id)).state is ListingState.CANCELLED
        await world.check()

    assert await at_every_step(fault, scenario) >= 5


@pytest.mark.parametrize("fault", Fault)
async def test_listing(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller = world.person()
        meme = world.meme(seller)
        listing_id = world.new_id()
        arm()
        await survive(world.list_title(seller, meme, listing_id=listing_id))
        world.remember_hit()
        await world.settle_down()
        await world.check()
        again = await world.list_title(seller, meme, listing_id=listing_id)
        assert again.state is ListingState.OPEN
        await world.check()
        await world.buy(world.person(), again)

    assert await at_every_step(fault, scenario) >= 5


@pytest.mark.parametrize("fault", Fault)
async def test_listing_with_another_id_after_a_crash(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller = world.person()
        meme = world.meme(seller)
        arm()
        await survive(world.list_title(seller, meme))
        world.remember_hit()
        await world.settle_down()
        await survive(world.list_title(seller, meme))
        [(_, open_listing)] = await world.reading.quotes([meme])
        assert open_listing is not None
        await world.check()

    assert await at_every_step(fault, scenario) >= 5


@pytest.mark.parametrize("fault", Fault)
async def test_cancelling(fault: Fault) -> None:
    async def scenario(world: World, arm: Callable[[], None]) -> None:
        seller = world.person()
        meme = world.meme(seller)
        listing = await world.list_title(seller, meme)
        arm()
        await survive(world.selling.cancel(listing.id, user_id=seller, is_admin=False))
        world.remember_hit()
        await world.settle_down()
        state = (await world.reading.listing(listing.id)).state
        assert state in (ListingState.OPEN, ListingState.CANCELLED)
        if state is ListingState.OPEN:
            await world.selling.cancel(listing.id, user_id=seller, is_admin=False)
        assert (await world.list_title(seller, meme)).state is ListingState.OPEN
        await world.check()

    assert await at_every_step(fault, scenario) >= 3


async def test_killed_tasks(tmp_path: Path) -> None:
    """The call is cancelled at its n-th turn of the loop, as when a client goes away."""
    for turns in range(0, 40, 2):
        async with open_world(tmp_path) as world:
            seller, buyer = world.person(), world.person()
            listing = await world.list_title(seller, world.meme(seller))
            call = asyncio.create_task(world.buy(buyer, listing))
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.sleep(turns / 10_000)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            # A write that was cancelled may still happen: one behind it in the queue waits for it.
            await world.store.delete("quotes", "nothing")
            await world.settle_down()
            await world.check()


PEOPLE, MEMES = 3, 2
person = st.integers(0, PEOPLE - 1)
meme = st.integers(0, MEMES - 1)
deeds = st.one_of(
    st.tuples(st.just("list"), person, meme),
    st.tuples(st.just("buy"), person, meme),
    st.tuples(st.just("cancel"), person, meme),
    st.tuples(st.just("late"), person, meme),
    st.tuples(st.just("rest"), person, meme),
)
trouble = st.one_of(st.none(), st.tuples(st.sampled_from(Fault), st.integers(1, 14)))


@settings(max_examples=60)
@given(st.lists(st.tuples(deeds, trouble), max_size=14))
def test_any_history_with_any_trouble(
    history: list[tuple[tuple[str, int, int], tuple[Fault, int] | None]],
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), history))


async def live(folder: Path, history: list[tuple[tuple[str, int, int], tuple[Fault, int] | None]]) -> None:
    async with open_world(folder) as world:
        people = [world.person(12_000) for _ in range(PEOPLE)]
        memes = [world.meme(people[0]) for _ in range(MEMES)]
        known: dict[int, Listing] = {}
        for (deed, who, which), fault in history:
            if fault is not None:
                world.steps.go_wrong(*fault)
            seller_listing = known.get(which)
            if deed == "list":
                listing_id = ListingId(world.new_id())
                await survive(world.list_title(people[who], memes[which], listing_id=listing_id))
                world.steps.go_right()
                known[which] = await world.listings.get(listing_id) or known.get(which) or seller_listing  # type: ignore[assignment] # may stay unknown
            elif seller_listing is not None and deed in ("buy", "late"):
                world.ledger.delays = deed == "late"
                await survive(world.buy(people[who], seller_listing))
                await survive(world.outbox.deliver())
            elif seller_listing is not None and deed == "cancel":
                await survive(world.selling.cancel(seller_listing.id, user_id=people[who], is_admin=who == 2))
            else:
                await world.settle_down()
                await world.check()
            world.steps.go_right()
        await world.settle_down()
        await world.check()
        assert (
            sum(world.ledger.sats(someone) for someone in people) + world.ledger.sats(FEE_ACCOUNT) == 36_000
        )
