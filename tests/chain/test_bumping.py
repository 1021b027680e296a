"""A node that says yes and never mines: a child pays more, once, within its ceiling, to the satoshi."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.ids import uuid7
from services.chain.app.bumping import BumpRule
from services.chain.app.parts import Rules
from services.chain.domain.entities import Tx
from services.chain.domain.scripts import p2pkh
from services.chain.domain.spending import fee_for
from services.chain.domain.states import TxState
from services.chain.domain.values import FLOAT_USER, Outpoint, Purpose, Sats
from services.chain.domain.wire import parse_transaction
from tests.chain.chainsim import SimNode
from tests.chain.faults import Killed, MortalStore
from tests.chain.world import ADDRESS, ANNA, OUTSIDE, RULES, Rig, fund, open_rig, opened_store

BUMP = BumpRule(after_blocks=3, sats_per_kb=500, fee_max_sats=1_000)


@pytest.fixture
def rules() -> Rules:
    return replace(RULES, bump=BUMP)


async def paid(rig: Rig, sats: int = 1_000) -> Tx:
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(sats))
    await rig.desk.pay()
    _, tx = await rig.desk.withdrawals.get(asked.id)
    assert tx is not None
    return tx


async def blocks_without(rig: Rig, sim: SimNode, blocks: int) -> None:
    sim.mine(blocks, only=[])
    await rig.sync()
    await rig.desk.keep_house()


def children(rig: Rig) -> list[Tx]:
    return [tx for tx in rig.desk.books.live() if tx.purpose is Purpose.BUMP]


async def test_a_child_pays_for_both_once_and_the_float_pays_the_child(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    await fund(rig, sim, ANNA, 60_000)
    stuck = await paid(rig)
    await blocks_without(rig, sim, 2)
    assert children(rig) == []
    await blocks_without(rig, sim, 1)
    [child] = children(rig)
    assert {Outpoint.parse(point).txid for point in child.inputs} == {stuck.txid}
    assert child.jobs == (stuck.plan,)
    assert child.txid in sim.pool
    package = len(stuck.raw) + len(child.raw)
    assert 0 <= stuck.fee_sats + child.fee_sats - fee_for(package, 500) <= 5  # signatures at their longest
    assert rig.balance(FLOAT_USER) == 50_000 - child.fee_sats
    await rig.balanced()
    for _ in range(3):
        await rig.restart()
        await blocks_without(rig, sim, 3)
    assert children(rig) == [await rig.desk.books.tx(child.plan)]
    assert len(sim.sent) == 2
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000]
    await rig.balanced()
    sim.mine(RULES.final_depth)
    await rig.sync()
    assert rig.desk.books.txs == {}
    await rig.balanced()


async def test_what_stands_on_the_stuck_one_is_paid_for_as_well(rig: Rig, sim: SimNode) -> None:
    rig.desk.wallet._policy = replace(rig.rules.policy, change_parts=1)
    await fund(rig, sim, ANNA, 50_000)
    await fund(rig, sim, FLOAT_USER, 40_000)
    one = await paid(rig)
    two = await paid(rig)
    assert {Outpoint.parse(point).txid for point in two.inputs} == {one.txid}
    await blocks_without(rig, sim, 3)
    await blocks_without(rig, sim, 1)
    [child] = children(rig)  # one child for both
    assert {Outpoint.parse(point).txid for point in child.inputs} == {two.txid}
    package = sum(len(tx.raw) for tx in (one, two, child))
    assert 0 <= sum(tx.fee_sats for tx in (one, two, child)) - fee_for(package, 500) <= 8
    await rig.balanced()


async def test_a_child_never_pays_more_than_its_ceiling(sim: SimNode, tmp_path: Path) -> None:
    rule = BumpRule(after_blocks=1, sats_per_kb=100_000, fee_max_sats=700)
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim, rules=replace(RULES, bump=rule))
        await fund(rig, sim, FLOAT_USER, 50_000)
        await fund(rig, sim, ANNA, 60_000)
        await paid(rig)
        await blocks_without(rig, sim, 1)
        [child] = children(rig)
        assert child.fee_sats == 700
        await rig.balanced()


async def test_a_child_reaches_what_miners_ask_by_now(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    await fund(rig, sim, ANNA, 60_000)
    stuck = await paid(rig)
    rig.world.fees.sats_per_kb = 900
    await blocks_without(rig, sim, 3)
    [child] = children(rig)
    package = len(stuck.raw) + len(child.raw)
    assert 0 <= stuck.fee_sats + child.fee_sats - fee_for(package, 900) <= 5
    await rig.balanced()


async def test_a_child_that_cannot_be_mined_is_undone_and_made_anew(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    await fund(rig, sim, ANNA, 60_000)
    await paid(rig)
    sim.sends = ["refuse"]
    sim.mine(3, only=[])
    sim.sends = ["take", "refuse"]  # the stuck one again, then the child
    await rig.sync()
    await rig.desk.keep_house()
    assert (children(rig), rig.balance(FLOAT_USER)) == ([], 50_000)
    await rig.balanced()
    await rig.desk.keep_house()
    assert len(children(rig)) == 1
    await rig.balanced()


async def test_no_child_without_a_float_or_where_the_fee_is_not_the_reason(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 60_000)
    await paid(rig)
    await blocks_without(rig, sim, 3)
    assert children(rig) == []
    await rig.balanced()
    rig.desk.bumping._rule = replace(BUMP, sats_per_kb=100)
    await fund(rig, sim, FLOAT_USER, 50_000, mine=False)
    sim.mine(only=[txid for txid in sim.pool if txid not in sim.sent])
    await rig.sync()
    await rig.desk.keep_house()
    assert children(rig) == []
    assert len(rig.desk.bumping.stuck()) == 1  # it is said, by log and metric


async def test_a_bumped_payment_survives_a_reorganisation(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    await fund(rig, sim, ANNA, 60_000)
    stuck = await paid(rig)
    await blocks_without(rig, sim, 3)
    sim.mine()
    await rig.sync()
    sim.rewind(1)
    sim.mine(2, only=[])
    await rig.sync()
    assert {tx.state for tx in rig.desk.books.live()} == {TxState.SEEN}
    await rig.balanced()
    sim.mine()
    await rig.sync()
    await rig.desk.keep_house()
    assert {tx.state for tx in rig.desk.books.live()} == {TxState.MINED}
    assert sim.paid(parse_transaction(stuck.raw).outputs[0].script) == [1_000]
    await rig.balanced()


async def test_killed_at_every_write_of_a_child(tmp_path: Path) -> None:
    async def day(at: int | None) -> int:
        sim = SimNode()
        async with opened_store(tmp_path / f"{at}.sqlite") as store:
            rig = await open_rig(store, sim, rules=replace(RULES, bump=BUMP))
            await fund(rig, sim, FLOAT_USER, 50_000)
            await fund(rig, sim, ANNA, 60_000)
            stuck = await paid(rig)
            sim.mine(3, only=[])
            await rig.sync()
            mortal = MortalStore(store, at=at, behind=bool(at and at % 2))
            await rig.live_on(mortal)
            with suppress(Killed):
                await rig.desk.keep_house()
            await mortal.at_rest()
            await rig.live_on(store)
            for _ in range(2):
                await rig.desk.tend()
                await rig.desk.keep_house()
                await rig.balanced()
            [child] = children(rig)
            assert rig.balance(FLOAT_USER) == 50_000 - child.fee_sats
            assert sim.sent.count(stuck.txid) == 1
            sim.mine()
            await rig.sync()
            assert {tx.state for tx in rig.desk.books.live()} == {TxState.MINED}
            await rig.balanced()
            return mortal.writes

    writes = await day(None)
    assert writes > 5
    for at in range(writes):
        await day(at)
