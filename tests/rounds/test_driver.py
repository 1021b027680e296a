"""The life of rounds over simple real stand-ins, with time in the test's hands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from mesh.errors import IdReused
from mesh.ids import uuid7
from services.rounds.domain.failures import RoundNotFound, StateConflict
from services.rounds.domain.record import payouts_root
from services.rounds.domain.values import MemeId, MemeTally, RoundId, Sats, State
from tests.rounds.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.start()
    await made.settle()
    yield made
    await made.kill()


async def open_round(world: World, memes: int = 3) -> RoundId:
    for _ in range(memes):
        world.content.publish()
    await world.settle()
    world.chain.block()
    await world.settle()
    assert world.state() is State.ACTIVE
    return world.current.id


async def test_round_lives_from_block_to_record(world: World) -> None:
    round_id = await open_round(world)
    opened = world.current
    assert opened.anchor is not None
    assert opened.anchor.hash == world.chain.blocks[-1].hash
    first, second, _ = (entry.meme_id for entry in opened.entries)
    world.ledger.watch_seconds(round_id, second, 900, world.clock.now_ns())
    world.ledger.watch_seconds(round_id, first, 400, world.clock.now_ns())
    await world.pass_time(29)
    assert world.state() is State.ACTIVE
    await world.pass_time(3.4)
    assert world.state() is State.ACTIVE, "the grace belongs to it"
    await world.pass_time(1)
    completed = (await world.all_rounds())[0]
    assert completed.state is State.COMPLETED
    assert world.state() is State.PENDING
    assert world.current.number == 2
    assert world.news.states(round_id) == [State.PENDING, State.ACTIVE, State.CALCULATING, State.COMPLETED]
    record = json.loads(world.chain.records[round_id])
    assert [row[1] for row in record["standings"]][:2] == [second, first]
    assert record["sums"]["takings"] == 1_300
    assert completed.distribution is not None
    assert record["payouts_root"] == payouts_root(completed.distribution.payouts)
    paid_out = {earned.user_id: earned.amount_sats for earned in world.chain.payouts.values()}
    assert sum(paid_out.values()) == record["sums"]["paid_out"] + record["sums"]["creators"]
    assert completed.txid == f"tx-{round_id}"


async def test_no_entries_no_round(world: World) -> None:
    world.chain.block()
    await world.settle()
    assert world.state() is State.PENDING
    assert world.ledger.commands == []


async def test_block_within_the_pause_opens_nothing(world: World) -> None:
    await open_round(world, memes=1)
    await world.pass_time(33.5)
    assert world.current.number == 2
    world.content.publish()
    await world.settle()
    world.chain.block()
    await world.settle()
    assert world.state() is State.PENDING
    await world.pass_time(5)
    world.chain.block()
    await world.settle()
    assert world.state() is State.ACTIVE


async def test_two_blocks_seconds_apart_open_one_round(world: World) -> None:
    await open_round(world)
    anchor = world.current.anchor
    await world.pass_time(2)
    world.chain.block()
    await world.settle()
    assert world.current.anchor == anchor
    assert world.current.number == 1
    assert world.ledger.commands.count("open") == 1


async def test_orphaned_anchor_moves_and_keeps_both_hashes(world: World) -> None:
    await open_round(world)
    old = world.current.anchor
    assert old is not None
    connected = world.chain.reorganise(1, 2)
    await world.settle()
    anchor = world.current.anchor
    assert anchor is not None
    assert (anchor.height, anchor.hash, anchor.orphaned) == (old.height, connected[0].hash, (old.hash,))
    assert world.state() is State.ACTIVE
    assert world.current.number == 1


async def test_anchor_of_an_ended_round_moves_too(world: World) -> None:
    round_id = await open_round(world)
    await world.pass_time(34)
    record = world.chain.records[round_id]
    connected = world.chain.reorganise(1, 2)
    await world.settle()
    ended = (await world.all_rounds())[0]
    assert ended.anchor is not None
    assert ended.anchor.hash == connected[0].hash
    assert ended.record_json == record, "what is on chain stays as it was written"


async def test_reorganisation_missed_in_a_gap_is_found(world: World) -> None:
    await open_round(world)
    await world.kill()
    connected = world.chain.reorganise(1, 2)
    world.chain.forgotten_cursor = True
    world.start()
    await world.settle()
    anchor = world.current.anchor
    assert anchor is not None
    assert anchor.hash == connected[0].hash


async def test_block_missed_in_a_gap_opens_the_round(world: World) -> None:
    world.chain.block()
    world.content.publish()
    await world.settle()
    await world.kill()
    await world.clock.advance(60)
    missed = world.chain.block()
    world.chain.forgotten_cursor = True
    world.start()
    await world.settle()
    assert world.state() is State.ACTIVE
    assert world.current.anchor is not None
    assert world.current.anchor.hash == missed.hash


async def test_chain_that_is_down_delays_the_end_and_no_more(world: World) -> None:
    round_id = await open_round(world)
    world.chain.is_away = True
    await world.pass_time(90)
    assert world.state() is State.CALCULATING
    world.chain.is_away = False
    await world.pass_time(6)
    assert (await world.all_rounds())[0].state is State.COMPLETED
    assert list(world.chain.records) == [round_id]


async def test_ledger_that_is_down_at_the_block_opens_later_and_closes_once(world: World) -> None:
    world.content.publish()
    await world.settle()
    world.ledger.is_away = True
    world.chain.block()
    await world.pass_time(50)
    assert world.state() is State.CALCULATING
    world.ledger.is_away = False
    await world.pass_time(10)
    assert (await world.all_rounds())[0].state is State.COMPLETED
    assert world.ledger.rounds[world.chain.records.__iter__().__next__()].state == "DISTRIBUTED"


async def test_round_the_ledger_never_opens_is_voided(world: World) -> None:
    world.ledger.refusal = "TITLE_NOT_FOUND"
    world.content.publish()
    await world.settle()
    world.chain.block()
    await world.settle()
    voided = (await world.all_rounds())[0]
    assert voided.state is State.VOIDED
    assert "TITLE_NOT_FOUND" in voided.void_reason
    assert world.current.number == 2
    assert world.current.entries == ()


async def test_transaction_is_filled_in_when_known(world: World) -> None:
    world.chain.txids_known = False
    round_id = await open_round(world)
    await world.pass_time(34)
    assert (await world.all_rounds())[0].state is State.COMPLETED
    assert (await world.all_rounds())[0].txid == ""
    world.chain.mine_record(round_id)
    await world.settle()
    assert (await world.all_rounds())[0].txid == f"tx-{round_id}"


async def test_transaction_known_while_we_were_away_is_asked_for(world: World) -> None:
    world.chain.txids_known = False
    round_id = await open_round(world)
    await world.pass_time(34)
    await world.kill()
    world.chain.txids_known = True
    world.start()
    await world.settle()
    assert (await world.all_rounds())[0].txid == f"tx-{round_id}"


async def test_assignment_takes_one_per_creator_oldest_first(world: World) -> None:
    first = world.content.publish(creator="ann")
    world.content.publish(creator="ann")
    poor = world.content.publish(creator="bob", quality_ppm=799_999)
    third = world.content.publish(creator="cid", quality_ppm=800_000)
    await world.settle()
    assert [entry.meme_id for entry in world.current.entries] == [first, third]
    assert poor not in {entry.meme_id for entry in world.current.entries}


async def test_taken_down_meme_drops_out_and_another_comes_in(world: World) -> None:
    first = world.content.publish(creator="ann")
    second = world.content.publish(creator="ann")
    await world.settle()
    world.content.take_down(first)
    await world.settle()
    assert [entry.meme_id for entry in world.current.entries] == [second]


async def test_meme_taken_down_in_an_active_round_keeps_what_it_earned(world: World) -> None:
    round_id = await open_round(world, memes=1)
    meme_id = world.current.entries[0].meme_id
    world.ledger.watch_seconds(round_id, meme_id, 500, world.clock.now_ns())
    world.content.take_down(meme_id)
    await world.pass_time(34)
    ended = (await world.all_rounds())[0]
    assert ended.distribution is not None
    assert [payout.meme_id for payout in ended.distribution.payouts] == [meme_id]


async def test_a_meme_plays_once(world: World) -> None:
    await open_round(world, memes=2)
    await world.pass_time(40)
    assert world.current.number == 2
    assert world.current.entries == ()
    await world.kill()
    world.content.forgotten_cursor = True
    world.start()
    await world.settle()
    assert world.current.entries == ()


async def test_memes_published_or_taken_down_in_a_gap_are_found(world: World) -> None:
    gone = world.content.publish()
    await world.settle()
    await world.kill()
    kept = [world.content.publish() for _ in range(5)]
    world.content.take_down(gone)
    world.content.forgotten_cursor = True
    world.start()
    await world.settle()
    assert [entry.meme_id for entry in world.current.entries] == kept


async def test_leaderboard_moves_at_most_once_a_second(world: World) -> None:
    round_id = await open_round(world)
    before = len(world.news.boards)
    meme_id = world.current.entries[1].meme_id
    for _ in range(20):
        world.ledger.watch_seconds(round_id, meme_id, 1, world.clock.now_ns())
        await world.pass_time(0.1)
    assert 1 <= len(world.news.boards) - before <= 12
    await world.pass_time(1)
    board = world.news.boards[-1]
    assert board.standings[0].tally.meme_id == meme_id
    assert board.standings[0].score == 20 * 900_000
    assert world.news.rounds[-1].totals.takings_sats == 20


async def test_what_earlier_rounds_took_is_not_counted_again(world: World) -> None:
    round_id = await open_round(world)
    world.ledger.watch_seconds(round_id, world.current.entries[1].meme_id, 20, world.clock.now_ns())
    # A ledger that begins to lead may tell tallies of earlier rounds once more, as of the newest.
    earlier = MemeTally(MemeId(uuid7()), paid_seconds=500, takings_sats=Sats(500), pool_sats=Sats(270))
    world.ledger.log.say((round_id, (earlier,), False))
    await world.settle()
    view = await world.service.current()
    assert (view.totals.takings_sats, view.totals.paid_seconds) == (20, 20)


async def test_leaderboard_is_rebuilt_after_a_restart(world: World) -> None:
    round_id = await open_round(world)
    meme_id = world.current.entries[1].meme_id
    world.ledger.watch_seconds(round_id, meme_id, 7, world.clock.now_ns())
    await world.kill()
    world.start()
    await world.settle()
    board = await world.service.leaderboard(round_id, 1)
    assert board.standings[0].tally.paid_seconds == 7
    assert len(board.standings) == 1


async def test_void_of_an_active_round_pays_back_and_is_idempotent(world: World) -> None:
    round_id = await open_round(world)
    world.ledger.watch_seconds(round_id, world.current.entries[0].meme_id, 50, world.clock.now_ns())
    view = await world.service.void(round_id, "wrong pictures")
    assert view.round.state is State.VOIDED
    assert view.totals.takings_sats == 0
    again = await world.service.void(round_id, "wrong pictures")
    assert again.round == (await world.all_rounds())[0]
    with pytest.raises(IdReused):
        await world.service.void(round_id, "another reason")
    assert world.ledger.rounds[round_id].state == "VOIDED"
    assert world.chain.records == {}


async def test_void_of_a_pending_round_frees_its_memes(world: World) -> None:
    meme_id = world.content.publish()
    await world.settle()
    await world.service.void(world.current.id, "start anew")
    await world.settle()
    assert world.current.number == 2
    assert [entry.meme_id for entry in world.current.entries] == [meme_id]
    assert world.ledger.commands == []


async def test_void_of_a_completed_round_changes_nothing(world: World) -> None:
    round_id = await open_round(world)
    await world.pass_time(34)
    before = await world.all_rounds()
    with pytest.raises(StateConflict):
        await world.service.void(round_id, "too late")
    assert await world.all_rounds() == before
    assert "void" not in world.ledger.commands


async def test_void_once_the_pool_is_paid_is_refused(world: World) -> None:
    round_id = await open_round(world)
    world.chain.is_away = True
    await world.pass_time(40)
    assert world.current.distribution is not None
    with pytest.raises(StateConflict):
        await world.service.void(round_id, "too late")
    assert world.ledger.rounds[round_id].state == "DISTRIBUTED"


async def test_void_of_an_unknown_round(world: World) -> None:
    with pytest.raises(RoundNotFound):
        await world.service.void(RoundId("nobody"), "no such thing")
    assert world.ledger.commands == []


async def test_unpaid_pool_is_carried_into_the_next_round(world: World) -> None:
    round_id = await open_round(world, memes=1)
    world.ledger.watch_seconds(round_id, world.current.entries[0].meme_id, 10, world.clock.now_ns())
    await world.pass_time(40)
    world.content.publish()
    await world.settle()
    world.chain.block()
    await world.settle()
    assert world.current.carried_in_sats > 0
    ended = (await world.all_rounds())[0]
    assert ended.distribution is not None
    assert ended.distribution.carried_out_sats == world.current.carried_in_sats
