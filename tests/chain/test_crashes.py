"""Killed at every write, every answer lost: each payment is made once, every coin is accounted for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from mesh.errors import Failure
from mesh.ids import uuid7
from mesh.leases import LeadershipLost
from mesh.records import Store
from services.chain.app.desk import Desk
from services.chain.app.orders import HalfDone
from services.chain.app.records import Records
from services.chain.domain.entities import TitleBody
from services.chain.domain.keys import FLOAT, KeyUse
from services.chain.domain.record_outputs import read_record_output
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import WithdrawalState
from services.chain.domain.values import FLOAT_USER, MemeId, Sats
from tests.chain.chainsim import SimNode
from tests.chain.faults import Killed, MortalStore
from tests.chain.world import ADDRESS, ANNA, BERT, OUTSIDE, Rig, inscribed_in, open_rig, opened_store

WITHDRAWALS = [(uuid7(), ANNA, 1_000), (uuid7(), ANNA, 2_000), (uuid7(), BERT, 3_000)]
MEME, SALE, ROUND = MemeId(uuid7()), uuid7(), uuid7()
BODY = TitleBody(MEME, ANNA, "A cat", "image/png", b"\x89PNG" * 20, "ab" * 32)


class Play:
    """A day of the service, each step of which may be done again."""

    def __init__(self, rig: Rig, sim: SimNode, store: Store) -> None:
        self.rig = rig
        self.sim = sim
        self.store = store
        self.funded = False

    async def begin(self) -> None:
        for user in (ANNA, BERT):
            path = await self.rig.desk.accounts.path(user, KeyUse.DEPOSIT)
            self.sim.fund(self.rig.world.keys.key(path).script, 50_000)
        self.sim.fund(self.rig.world.keys.key(FLOAT).script, 50_000)

    async def day(self) -> None:
        """Everything once more; what was done before changes nothing."""
        desk = self.rig.desk
        for pauses in (desk.titles._pauses, desk.results._pauses):
            pauses.clear()  # they are over by now
        await self.rig.mempool()
        await self.rig.sync()
        for id_, user, sats in WITHDRAWALS:
            await desk.requests.withdraw(id_, user, ADDRESS, Sats(sats))
        await desk.pay()
        await desk.titles.inscribe(BODY)
        await desk.write_next()
        await desk.titles.transfer(SALE, MEME, BERT)
        await desk.results.record(ROUND, '{"round":1}')
        while await desk.write_next():
            pass
        await desk.tend()

    async def live_on(self, store: Store) -> None:
        """The service is started again, over this store."""
        self.rig.world = replace(self.rig.world, records=Records(store))
        self.rig.desk = await Desk.open(self.rig.world, self.rig.rules, self.rig.fence)

    async def end(self) -> None:
        """Two quiet days later everything was done exactly once."""
        for _ in range(2):
            with suppress(Failure):
                await self.day()
            self.sim.mine()
        await self.day()
        await self.rig.sync()
        await self.rig.balanced()
        for id_, _, _ in WITHDRAWALS:
            found, _ = await self.rig.desk.withdrawals.get(id_)
            assert found.state is WithdrawalState.CONFIRMED
        assert sorted(self.sim.paid(p2pkh(OUTSIDE))) == [1_000, 2_000, 3_000]
        chain = self.sim.on_chain()
        inscribed = [tx for tx in chain if any(inscribed_in(out.script) for out in tx.outputs)]
        records = [out for tx in chain for out in tx.outputs if out.script[:2] == b"\x00\x6a"]
        assert (len(inscribed), len(records)) == (1, 1)
        assert read_record_output(records[0].script).payload == b'{"round":1}'
        shown = await self.rig.desk.titles.get(MEME)
        assert (shown.title.owner_id, shown.tx_state in ("mined", "final")) == (BERT, True)
        assert self.rig.ledger.holds == {}
        fees = 150_000 - 6_000 - 1 - (await self.rig.custody()).coins_sats
        spent = sum(50_000 - self.rig.balance(user) for user in (ANNA, BERT, FLOAT_USER))
        assert spent == 6_000 + 1 + fees


class Killable(Protocol):
    """Something that is killed at a write, or behind it, and then ended; gives how many writes it has."""

    async def __call__(self, folder: Path, /, *, at: int | None, behind: bool) -> int: ...


async def killed_everywhere(what: Killable, folder: Path, *, writes_min: int) -> None:
    """Once for each of its writes."""
    writes = await what(folder, at=None, behind=False)
    assert writes > writes_min
    for at in range(writes):
        # Behind one write is before the next, but for what was asked of others in between.
        behind = at % 2 == 1
        try:
            await what(folder, at=at, behind=behind)
        except BaseException as problem:
            raise AssertionError(f"killed at write {at} of {writes}, behind={behind}") from problem


async def played(folder: Path, *, at: int | None, behind: bool) -> int:
    """A day killed at a write, then its end; returns how many writes the day has."""
    sim = SimNode()
    async with opened_store(folder / f"{at}-{behind}.sqlite") as store:
        rig = await open_rig(store, sim)
        play = Play(rig, sim, store)
        await play.begin()
        mortal = MortalStore(store, at=at, behind=behind)
        await play.live_on(mortal)
        with suppress(Killed):
            await rig.mempool()
            sim.mine()
            await play.day()
            sim.mine()
            await play.day()
        await mortal.at_rest()
        await play.live_on(store)
        await play.end()
        return mortal.writes


async def test_killed_at_every_write_of_a_day(tmp_path: Path) -> None:
    await killed_everywhere(played, tmp_path, writes_min=40)


async def refused(folder: Path, *, at: int | None, behind: bool) -> int:
    """The inscription can never be mined, and the title's move falls with it; killed at one of the writes."""
    sim = SimNode()
    async with opened_store(folder / f"refused-{at}-{behind}.sqlite") as store:
        play = Play(await open_rig(store, sim), sim, store)
        await play.begin()
        sim.mine()
        await play.day()
        for txid in sim.sent:
            sim.evict(txid)
        mortal = MortalStore(store, at=at, behind=behind)
        await play.live_on(mortal)
        sim.sends = ["take", "refuse"]
        with suppress(Killed):
            await play.rig.desk.tend()
            await play.rig.balanced()
        sim.sends = []
        await mortal.at_rest()
        await play.live_on(store)
        await play.end()
        return mortal.writes


async def test_killed_at_every_write_of_a_rejection(tmp_path: Path) -> None:
    await killed_everywhere(refused, tmp_path, writes_min=10)


@pytest.mark.parametrize("lost", range(12))
async def test_every_answer_of_the_ledger_lost_once(tmp_path: Path, lost: int) -> None:
    sim = SimNode()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        play = Play(await open_rig(store, sim), sim, store)
        await play.begin()
        sim.mine()
        ledger = play.rig.ledger
        count = iter(range(1_000))
        answer = ledger._answer

        def losing() -> None:
            if next(count) == lost:
                ledger.lose_answers = 1
            answer()

        ledger._answer = losing  # type: ignore[method-assign]
        with suppress(Failure):
            await play.day()
        await play.end()


@pytest.mark.parametrize("how", ["lose", "take and lose"])
@pytest.mark.parametrize("number", range(4))
async def test_every_answer_of_the_node_lost_once(tmp_path: Path, how: str, number: int) -> None:
    sim = SimNode()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        play = Play(await open_rig(store, sim), sim, store)
        await play.begin()
        sim.mine()
        sim.sends = ["take"] * number + [how]
        await play.day()
        await play.live_on(store)
        await play.end()


async def test_a_leader_that_was_paused_while_signing_does_not_pay_again(tmp_path: Path) -> None:
    sim = SimNode()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim)
        play = Play(rig, sim, store)
        await play.begin()
        sim.mine()
        mortal = MortalStore(store)
        await play.live_on(mortal)
        await rig.sync()
        await rig.desk.requests.withdraw(WITHDRAWALS[0][0], ANNA, ADDRESS, Sats(1_000))
        reached, go = asyncio.Event(), asyncio.Event()
        mortal.pause_before = ("txs", reached, go)
        old = asyncio.create_task(rig.desk.pay())
        await reached.wait()
        await play.live_on(store)  # the new leader recovers while the old one sleeps
        await rig.desk.pay()
        sent = list(sim.sent)
        go.set()
        with pytest.raises(HalfDone):
            await old
        assert (len(sent), sim.sent) == (1, sent)
        await play.end()


async def test_a_leader_that_lost_its_lease_signs_nothing(tmp_path: Path) -> None:
    sim = SimNode()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim)
        play = Play(rig, sim, store)
        await play.begin()
        sim.mine()
        await rig.sync()
        await rig.desk.requests.withdraw(WITHDRAWALS[0][0], ANNA, ADDRESS, Sats(1_000))
        rig.fence.lost = LeadershipLost()
        with pytest.raises(LeadershipLost):
            await rig.desk.pay()
        assert (rig.desk.books.txs, sim.sent, rig.desk.withdrawals.queued) == ({}, [], 1)
        await rig.balanced()


async def test_two_desks_at_once_do_not_spend_one_coin_twice(tmp_path: Path) -> None:
    sim = SimNode()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim)
        play = Play(rig, sim, store)
        await play.begin()
        sim.mine()
        await rig.sync()
        for id_, user, sats in WITHDRAWALS:
            await rig.desk.requests.withdraw(id_, user, ADDRESS, Sats(sats))
        other = await Desk.open(rig.world, rig.rules, rig.fence)
        done = await asyncio.gather(rig.desk.pay(), other.pay(), return_exceptions=True)
        assert [type(one) for one in done if one is not None] in ([HalfDone], [HalfDone, HalfDone])
        await play.live_on(store)
        await play.end()
