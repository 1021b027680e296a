"""The process dies at each place where it awaits something and is started again: the round ends once."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import Failure
from mesh.records import Busy, InDoubt, StoreUnavailable
from services.rounds.domain.values import Round, State
from tests.rounds.world import World


async def play(world: World, crash_at: int | None, *, void: bool) -> list[Round]:
    """One round from publication to its end, with a crash at the given place."""
    world.faults.crash_at = crash_at
    world.step_s = 2.0
    world.start()
    await world.pass_time(2)
    for n in range(3):
        world.content.publish(creator=f"creator-{n}")
    await world.pass_time(2)
    world.chain.block()
    await world.pass_time(2)
    rounds = await stored(world)
    for n, entry in enumerate(rounds[0].entries):
        world.ledger.watch_seconds(rounds[0].id, entry.meme_id, 300 * (n + 1), world.clock.now_ns())
    await world.pass_time(15)
    if void:
        await ask_to_void(world, rounds[0])
    world.chain.reorganise(1, 2)
    await world.pass_time(45)
    await world.kill()
    return await stored(world)


async def stored(world: World) -> list[Round]:
    crash_at, world.faults.crash_at = world.faults.crash_at, None
    found = await world.all_rounds()
    world.faults.crash_at = crash_at
    return found


async def ask_to_void(world: World, round_: Round) -> None:
    """An administrator who asks again when nobody answers."""
    for _ in range(5):
        asking = asyncio.create_task(world.service.void(round_.id, "wrong pictures"))
        await world.settle()
        asking.cancel()
        outcome = (await asyncio.gather(asking, return_exceptions=True))[0]
        if not isinstance(outcome, BaseException):
            return
        await world.pass_time(1)


def check(world: World, rounds: list[Round], *, void: bool) -> None:
    first = rounds[0]
    assert first.state is (State.VOIDED if void else State.COMPLETED)
    assert [found.number for found in rounds] == [1, 2]
    assert rounds[1].state is State.PENDING
    assert rounds[1].entries == (), "no meme plays twice"
    books = world.ledger.rounds[first.id]
    assert list(world.ledger.rounds) == [first.id]
    if void:
        assert books.state == "VOIDED"
        assert world.chain.records == {}
        assert world.chain.payouts == {}
        return
    assert books.distribution is not None
    assert first.distribution == books.distribution
    takings = sum(row.takings_sats for row in books.tally.values())
    shares = sum(row.fee_sats + row.creator_sats + row.owner_sats for row in books.tally.values())
    paid = sum(payout.amount_sats for payout in books.distribution.payouts)
    assert takings == 1_800 == shares + paid + books.distribution.carried_out_sats
    assert world.chain.records == {first.id: first.record_json}
    assert len(world.chain.payouts) == 3
    assert first.anchor is not None
    assert first.anchor.hash == world.chain.blocks[-2].hash


@pytest.mark.parametrize("void", [False, True])
async def test_crash_at_every_await_ends_the_round_once(void: bool) -> None:
    whole = World()
    check(whole, await play(whole, None, void=void), void=void)
    places = whole.faults.passed
    assert places > 50
    crashed = 0
    for place in range(places):
        world = World()
        rounds = await play(world, place, void=void)
        try:
            check(world, rounds, void=void)
        except AssertionError as wrong:
            raise AssertionError(f"after a crash at place {place} of {places}") from wrong
        crashed += world.crashes
    assert crashed >= places * 3 // 4


@pytest.mark.parametrize("failure", [InDoubt, Busy, StoreUnavailable])
async def test_store_failing_once_at_any_write_changes_nothing(failure: type[Failure]) -> None:
    whole = World()
    await play(whole, None, void=False)
    failed = 0
    for place in range(whole.faults.passed):
        world = World()
        world.faults.fail_at, world.faults.failure = place, failure
        rounds = await play(world, None, void=False)
        try:
            check(world, rounds, void=False)
        except AssertionError as wrong:
            raise AssertionError(f"after {failure.__name__} at place {place}") from wrong
        failed += world.faults.failed
    assert failed > 20


async def test_two_drivers_on_one_store_end_the_round_once() -> None:
    """A leader that was cut off goes on for a while: what both do is done once."""
    first = World()
    second = World()
    second.clock, second.faults, second.store = first.clock, first.faults, first.store
    second.ledger, second.content, second.chain = first.ledger, first.content, first.chain
    second.rounds = first.rounds
    first.start()
    second.start()
    await first.settle()
    for n in range(3):
        first.content.publish(creator=f"creator-{n}")
    await first.settle()
    first.chain.block()
    await first.settle()
    rounds = await stored(first)
    for n, entry in enumerate(rounds[0].entries):
        first.ledger.watch_seconds(rounds[0].id, entry.meme_id, 300 * (n + 1), first.clock.now_ns())
    await first.pass_time(15)
    first.chain.reorganise(1, 2)
    await first.pass_time(60)
    await first.kill()
    await second.kill()
    check(first, await stored(first), void=False)
