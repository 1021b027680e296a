"""Standbys: they follow, answer what they may, say how old it is, and take over from where they are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mesh.clock import ManualClock
from services.ledger.app.journal import Fenced, Head, JournalBroken
from services.ledger.app.leadership import keep_telling_readable
from services.ledger.app.ledger import FOLLOW_EVERY_S, FOLLOW_PAUSE_S_MAX, STALENESS_S_MAX, Standing
from services.ledger.app.replay import recover
from services.ledger.domain.machine import Machine
from services.ledger.domain.reasons import Reason, Refused
from tests.ledger.stores import Fault, Instance, MemoryStore, journal_of
from tests.ledger.test_journal import balance, deposit, digest, pay, replayed


class Pair:
    """A leader and a standby over one store and one clock, with a deposit made."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.leader, self.standby = (
            Instance(journal_of(self.store, self.clock), self.clock, name) for name in ("leader", "standby")
        )

    async def tick(self, seconds: float = FOLLOW_EVERY_S) -> None:
        """Time for the standby to look once."""
        await self.clock.advance(seconds)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.leader.lead()
    pair.standby.follow()
    await pair.leader.ledger.submit(deposit(1))
    yield pair
    for instance in (pair.leader, pair.standby):
        await instance.kill()


async def anywhere(instance: Instance, user: str) -> int:
    def question(machine: Machine, _: Head) -> int:
        number = machine.books.find(f"user:{user}")
        return 0 if number is None else machine.books.balance[number]

    return await instance.ledger.ask(question, anywhere=True)


@asynccontextmanager
async def refused(reason: Reason) -> AsyncIterator[None]:
    with pytest.raises(Refused) as refusal:
        yield
    assert refusal.value.number is reason


async def test_a_standby_answers_what_the_leader_committed(pair: Pair) -> None:
    await pair.leader.ledger.submit(pay("t", 300))
    await pair.tick()
    assert await anywhere(pair.standby, "b") == 300
    assert pair.standby.ledger.standing == Standing(leads=False, sequence=3, staleness_s=0.0)
    assert pair.leader.ledger.standing == Standing(leads=True, sequence=3, staleness_s=0.0)
    async with refused(Reason.NOT_LEADER):
        await balance(pair.standby, "b")
    async with refused(Reason.NOT_LEADER):
        await pair.standby.ledger.submit(pay("u", 1))
    assert pair.standby.told.news == []


async def test_it_says_how_old_its_state_may_be(pair: Pair) -> None:
    await pair.tick()
    pair.store.away = True
    await pair.leader.ledger.submit(pay("t", 300))
    await pair.tick(STALENESS_S_MAX - 0.5)
    standing = pair.standby.ledger.standing
    assert await anywhere(pair.standby, "b") == 0
    assert standing.sequence == 2
    assert STALENESS_S_MAX - 0.5 <= standing.staleness_s < STALENESS_S_MAX
    await pair.tick(1)
    assert not pair.standby.ledger.readable
    async with refused(Reason.TOO_STALE):
        await anywhere(pair.standby, "b")
    pair.store.away = False
    await pair.tick(FOLLOW_PAUSE_S_MAX)
    assert await anywhere(pair.standby, "b") == 300


async def test_a_store_in_trouble_is_not_hammered(pair: Pair) -> None:
    await pair.tick()
    pair.store.away = True
    await pair.tick(60)
    looks = pair.store.looks
    await pair.tick(60)
    assert pair.store.looks - looks <= 60 / FOLLOW_PAUSE_S_MAX + 1


async def test_who_has_read_nothing_answers_nothing(pair: Pair) -> None:
    fresh = Instance(journal_of(pair.store, pair.clock), pair.clock, "fresh")
    assert math.isinf(fresh.ledger.standing.staleness_s)
    async with refused(Reason.TOO_STALE):
        await anywhere(fresh, "a")


async def test_a_takeover_reads_only_what_is_new(pair: Pair) -> None:
    await asyncio.gather(*(pair.leader.ledger.submit(pay(f"t{number}", 1)) for number in range(5)))
    await pair.tick()
    before = await digest(pair.leader)
    await pair.leader.kill()
    pair.store.read.clear()
    await pair.standby.lead()
    assert pair.store.read == []
    assert await digest(pair.standby) == before
    assert await pair.standby.ledger.submit(pay("t0", 1)) == [(Reason.OK, "")]
    assert await balance(pair.standby, "b") == 5
    assert await replayed(pair.store) == await digest(pair.standby)


async def test_news_begin_with_the_reign(pair: Pair) -> None:
    await pair.leader.ledger.submit(pay("t", 1))
    await pair.tick()
    await pair.leader.kill()
    await pair.standby.lead()
    await pair.standby.ledger.submit(pay("u", 2))
    told = [
        (head.sequence, [posting.amount for posting in changes.postings])
        for head, changes in pair.standby.told.news
    ]
    assert told == [(4, []), (5, [2])]


async def test_a_deposed_leader_throws_away_what_it_could_not_commit_and_follows(pair: Pair) -> None:
    old, new = pair.leader, pair.standby
    old.follow()
    await new.lead()
    async with refused(Reason.NOT_LEADER):
        await old.ledger.submit(pay("lost", 10))
    assert isinstance(await old.fall(), Fenced)
    async with refused(Reason.TOO_STALE):
        await anywhere(old, "b")
    await new.ledger.submit(pay("kept", 7))
    await pair.tick()
    assert await anywhere(old, "b") == 7
    assert await old.ledger.ask(lambda machine, _: machine.now_ns, anywhere=True) > 0
    await new.kill()
    await old.lead()
    assert await balance(old, "b") == 7
    assert await replayed(pair.store) == await digest(old)


async def test_nobody_sees_what_is_not_committed(pair: Pair) -> None:
    pair.leader.follow()
    pair.store.faults = [Fault.FREEZE]
    asked = asyncio.create_task(pair.leader.ledger.submit(pay("t", 10)))
    await pair.store.troubled.wait()
    question = asyncio.create_task(anywhere(pair.leader, "b"))
    await pair.tick()
    assert not question.done()
    assert await anywhere(pair.standby, "b") == 0
    assert pair.leader.task is not None
    pair.leader.task.cancel()
    async with refused(Reason.TOO_STALE):
        await question
    async with refused(Reason.NOT_LEADER):
        await asked
    await pair.tick()
    assert await anywhere(pair.leader, "b") == 0


async def test_a_leader_out_of_office_answers_as_a_standby(pair: Pair) -> None:
    pair.leader.in_office = False
    async with refused(Reason.NOT_LEADER):
        await balance(pair.leader, "a")
    await pair.tick(1)
    assert await anywhere(pair.leader, "a") == 1_000
    assert pair.leader.ledger.standing == Standing(leads=False, sequence=2, staleness_s=1.0)
    await pair.tick(STALENESS_S_MAX)  # as if it had been frozen
    async with refused(Reason.TOO_STALE):
        await anywhere(pair.leader, "a")


async def sequence_now(instance: Instance) -> int:
    return await instance.ledger.ask_anew(lambda _, head: head.sequence)


async def test_asked_anew_a_standby_looks_first(pair: Pair) -> None:
    await pair.tick()
    await pair.leader.ledger.submit(pay("t", 300))
    asked = asyncio.create_task(sequence_now(pair.standby))
    await asyncio.sleep(0)
    await pair.leader.ledger.submit(pay("u", 300))
    await pair.tick()
    assert await asked == 4
    assert await sequence_now(pair.leader) == 4


async def test_asked_anew_it_refuses_when_it_cannot_look(pair: Pair) -> None:
    await pair.tick()
    pair.store.away = True
    asked = asyncio.create_task(sequence_now(pair.standby))
    await pair.tick()
    async with refused(Reason.TOO_STALE):
        await asked
    assert await anywhere(pair.standby, "a") == 1_000


async def test_records_read_together_need_not_be_of_one_instant(pair: Pair) -> None:
    await pair.tick()
    for name in ("t", "u"):
        await pair.leader.ledger.submit(pay(name, 1))
    pair.store.unseen = {f"{3:016d}"}
    await pair.tick()
    assert await anywhere(pair.standby, "b") == 2


async def test_a_standby_that_finds_a_broken_journal_stops(pair: Pair) -> None:
    await pair.tick()
    await pair.leader.ledger.submit(pay("t", 1))
    await pair.leader.ledger.submit(pay("u", 1))
    del pair.store.records[f"{3:016d}"]
    await pair.tick()
    assert pair.standby.following is not None
    await asyncio.wait([pair.standby.following])
    assert isinstance(pair.standby.following.exception(), JournalBroken)


async def test_a_replay_that_ends_otherwise_is_shown_to_nobody(pair: Pair) -> None:
    await pair.tick()
    await pair.standby.ledger.ask(lambda machine, _: machine.apply(deposit(9).command), anywhere=True)
    await pair.leader.ledger.submit(pay("t", 1))
    await pair.tick()
    assert pair.standby.following is not None
    await asyncio.wait([pair.standby.following])
    assert "other answers" in str(pair.standby.following.exception())
    async with refused(Reason.TOO_STALE):
        await anywhere(pair.standby, "a")


async def test_it_may_begin_with_a_state_that_it_was_given(pair: Pair) -> None:
    async def load() -> tuple[Machine, Head]:
        return await recover(journal_of(pair.store, pair.clock))

    loaded = Instance(journal_of(pair.store, pair.clock), pair.clock, "loaded", load=load)
    loaded.follow()
    await pair.leader.ledger.submit(pay("t", 5))
    await pair.tick()
    assert await anywhere(loaded, "b") == 5
    await loaded.kill()


async def test_whether_it_can_be_read_is_told(pair: Pair) -> None:
    told: list[bool] = []

    async def tell(yes: bool) -> None:
        told.append(yes)

    fresh = Instance(journal_of(pair.store, pair.clock), pair.clock, "fresh")
    telling: asyncio.Task[Any] = asyncio.create_task(keep_telling_readable(fresh.ledger, tell, pair.clock))
    await pair.tick(1)
    fresh.follow()
    await pair.tick(1)
    pair.store.away = True
    await pair.tick(STALENESS_S_MAX + 1)
    assert told == [False, True, False]
    telling.cancel()
    await fresh.kill()
