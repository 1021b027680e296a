"""Deposits over a node in memory: credited once, and taken back with the block that brought them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.errors import RemoteFailure
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import DepositState
from services.chain.domain.values import FLOAT_USER, UserId
from tests.chain.chainsim import SimNode
from tests.chain.world import (
    ANNA,
    BERT,
    OUTSIDE,
    RULES,
    Rig,
    fund,
    next_millisecond,
    open_rig,
    opened_store,
    script_of,
)

pytestmark = pytest.mark.usefixtures("balanced")


async def states(rig: Rig, user: UserId) -> list[DepositState]:
    return [deposit.state for deposit in await rig.desk.deposits.listed(user, "", 100)]


async def test_dust_is_no_deposit_and_is_not_paid_out_with_the_coins_of_others(
    rig: Rig, sim: SimNode
) -> None:
    await fund(rig, sim, BERT, 50_000)
    for _ in range(20):
        sim.fund(await script_of(rig, ANNA), 199)
    await rig.mempool()
    await fund(rig, sim, ANNA, 200)
    assert (rig.balance(ANNA), len(await states(rig, ANNA))) == (200, 1)
    assert len(rig.desk.wallet.spendable()) == 2


async def test_addresses_stay_and_differ(rig: Rig) -> None:
    first = await rig.address(ANNA)
    assert await rig.address(BERT) != first
    await rig.restart()
    assert await rig.address(ANNA) == first


async def test_deposits_of_all_kinds_of_wallets_in_one_block(rig: Rig, sim: SimNode) -> None:
    for user, sats in ((ANNA, 200), (BERT, 5_000), (ANNA, 7_000), (FLOAT_USER, 9_000)):
        sim.fund(await script_of(rig, user), sats)
    sim.fund(p2pkh(OUTSIDE), 1_000)
    sim.mine()
    await rig.sync()
    assert (rig.balance(ANNA), rig.balance(BERT), rig.balance(FLOAT_USER)) == (7_200, 5_000, 9_000)
    assert len(await rig.desk.deposits.listed(ANNA, "", 10)) == 2
    custody = await rig.custody()
    assert (custody.coins_sats, custody.coins, custody.difference_sats) == (21_200, 4, 0)


async def test_pages_of_deposits_are_newest_first(rig: Rig, sim: SimNode) -> None:
    for sats in (1_000, 2_000, 3_000):
        await fund(rig, sim, ANNA, sats)
        await next_millisecond(rig)
    first = await rig.desk.deposits.listed(ANNA, "", 2)
    rest = await rig.desk.deposits.listed(ANNA, first[-1].id, 2)
    assert [one.sats for one in [*first, *rest]] == [3_000, 2_000, 1_000]


async def test_an_unconfirmed_deposit_that_is_double_spent_is_never_credited(rig: Rig, sim: SimNode) -> None:
    sim.fund(await script_of(rig, ANNA), 5_000, faucet=900)
    await rig.mempool()
    assert await states(rig, ANNA) == [DepositState.SEEN]
    sim.fund(p2pkh(OUTSIDE), 5_000, faucet=900)
    sim.mine()
    await rig.sync()
    assert await states(rig, ANNA) == [DepositState.REVERSED]
    assert (rig.ledger.credits, rig.balance(ANNA)) == ({}, 0)
    assert (await rig.custody()).coins_sats == 0


async def test_a_deposit_that_comes_back_is_seen_again(rig: Rig, sim: SimNode) -> None:
    tx = await fund(rig, sim, ANNA, 5_000, mine=False)
    await rig.mempool()
    sim.evict(tx.txid)
    await rig.desk.tend()
    assert await states(rig, ANNA) == [DepositState.REVERSED]
    sim.pool[tx.txid] = tx
    await rig.desk.tend()
    assert await states(rig, ANNA) == [DepositState.SEEN]
    sim.mine()
    await rig.sync()
    assert await states(rig, ANNA) == [DepositState.CREDITED]


async def test_a_block_that_wins_again_is_another_credit(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 5_000)
    first = sim.tip
    sim.rewind(1)
    sim.mine(2, only=[])
    await rig.sync()
    assert await states(rig, ANNA) == [DepositState.SEEN]
    assert rig.balance(ANNA) == 0
    await rig.balanced()
    sim.jump(first)
    sim.mine(2, only=[])
    await rig.sync()
    assert (await states(rig, ANNA), rig.balance(ANNA)) == ([DepositState.CREDITED], 5_000)
    assert len(rig.ledger.credits) == 2
    assert len(rig.ledger.reversals) == 1


@pytest.mark.parametrize("depth", [1, 2, 5, 20])
async def test_after_a_reorganisation_all_is_as_on_the_winning_chain_alone(
    rig: Rig, sim: SimNode, tmp_path: Path, depth: int
) -> None:
    for number in range(depth):
        await fund(rig, sim, (ANNA, BERT)[number % 2], 1_000 + number)
    sim.rewind(depth)
    lost = next(iter(sim.pool))
    sim.evict(lost)
    sim.mine(depth + 1)
    await rig.sync()
    [(_, switch)] = [(id_, found) for id_, found in rig.news.switches if found.orphaned]
    assert (len(switch.orphaned), len(switch.connected)) == (depth, depth + 1)
    async with opened_store(tmp_path / "straight.sqlite") as store:
        rules = rig.rules
        straight = await open_rig(store, SimNode(), rules=rules)
        for user in (ANNA, BERT):
            await straight.address(user)
        straight.world.reader.blocks.update(sim.blocks)  # type: ignore[attr-defined]
        straight.world.reader.jump(sim.tip)  # type: ignore[attr-defined]
        for user in (ANNA, BERT):
            paid = sum(sim.paid(await script_of(rig, user)))
            assert rig.balance(user) == paid
            assert rig.available(user) == paid
    await rig.balanced()


async def test_more_confirmations_are_waited_for(sim: SimNode, tmp_path: Path) -> None:
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim, rules=replace(RULES, confirmations_needed=3))
        await fund(rig, sim, ANNA, 5_000)
        for blocks in (1, 1):
            assert rig.balance(ANNA) == 0
            sim.mine(blocks)
            await rig.sync()
        assert rig.balance(ANNA) == 5_000
        await rig.balanced()


async def test_a_credit_without_an_answer_in_a_block_that_is_orphaned_is_taken_back(
    rig: Rig, sim: SimNode
) -> None:
    for number, double_spent in enumerate((True, False)):
        script = await script_of(rig, ANNA)
        sim.fund(script, 5_000, faucet=900 + number)
        sim.mine()
        rig.ledger.lose_answers = 1
        with pytest.raises(RemoteFailure):
            await rig.sync()
        assert rig.balance(ANNA) == 5_000
        sim.rewind(1)
        if double_spent:
            sim.fund(p2pkh(OUTSIDE), 5_000, faucet=900 + number)
        sim.mine(2)
        await rig.sync()
        assert rig.balance(ANNA) == (0 if double_spent else 5_000)
        await rig.balanced()
    told = [(one.state, one.reversals) for one in rig.news.deposits if one.state != DepositState.SEEN]
    assert told == [("credited", 0), ("reversed", 1), ("credited", 0), ("reversed", 1), ("credited", 1)]


async def test_a_payment_seen_long_ago_is_credited_when_it_is_mined(rig: Rig, sim: SimNode) -> None:
    tx = await fund(rig, sim, ANNA, 5_000, mine=False)
    await rig.mempool()
    sim.evict(tx.txid)
    await rig.desk.tend()
    assert await states(rig, ANNA) == [DepositState.REVERSED]
    await asyncio.sleep(0.01)
    rig.ledger.horizon_ns = rig.world.clock.now_ns()
    sim.pool[tx.txid] = tx
    sim.mine()
    await rig.sync()
    assert (rig.balance(ANNA), await states(rig, ANNA)) == (5_000, [DepositState.CREDITED])


async def test_a_block_half_undone_when_it_wins_again_is_applied(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 5_000)
    first = sim.tip
    sim.rewind(1)
    sim.pool.clear()
    sim.mine(2)
    rig.ledger.lose_answers = 1
    with pytest.raises(RemoteFailure):
        await rig.sync()
    assert rig.balance(ANNA) == 0
    sim.jump(first)
    sim.mine(2)
    await rig.restart()
    await rig.sync()
    assert rig.balance(ANNA) == 5_000
    assert await states(rig, ANNA) == [DepositState.CREDITED]
