"""The coins that pay, over a node in memory: joined, split, spent unconfirmed, counted, at last forgotten."""

from __future__ import annotations

import pytest

from mesh.errors import RemoteFailure
from mesh.ids import uuid7
from services.chain.domain.failures import LedgerInDoubt, WalletEmpty
from services.chain.domain.keys import KeyPath
from services.chain.domain.scripts import p2pkh
from services.chain.domain.spending import INPUTS_MAX
from services.chain.domain.states import CoinState, TxState, WithdrawalState
from services.chain.domain.values import FLOAT_USER, Outpoint, Purpose, Sats
from services.chain.domain.wire import Output, Spent, assemble, parse_transaction
from tests.chain.chainsim import SimNode
from tests.chain.world import ADDRESS, ANNA, BERT, OUTSIDE, Rig, fund, script_of

pytestmark = pytest.mark.usefixtures("balanced")


async def test_a_withdrawal_of_more_coins_than_fit_keeps_nobody_waiting(rig: Rig, sim: SimNode) -> None:
    for _ in range(INPUTS_MAX + 300):
        sim.fund(await script_of(rig, ANNA), 1_000)
    await fund(rig, sim, BERT, 5_000)
    large = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(800_000))
    small = await rig.desk.requests.withdraw(uuid7(), BERT, ADDRESS, Sats(2_000))
    await rig.desk.pay()
    found = [(await rig.desk.withdrawals.get(one.id))[0].state for one in (large, small)]
    assert found == [WithdrawalState.QUEUED, WithdrawalState.SENT]
    await rig.balanced()
    await fund(rig, sim, FLOAT_USER, 50_000)
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    assert (await rig.desk.withdrawals.get(large.id))[0].state is WithdrawalState.CONFIRMED
    assert sorted(sim.paid(p2pkh(OUTSIDE))) == [2_000, 800_000]
    purposes = [kept.value.purpose for kept in rig.desk.books.txs.values()]
    assert purposes.count(Purpose.WALLET) == 1


async def test_joined_coins_survive_a_refusal_and_a_restart(rig: Rig, sim: SimNode) -> None:
    for _ in range(INPUTS_MAX + 100):
        sim.fund(await script_of(rig, ANNA), 1_000)
    await fund(rig, sim, FLOAT_USER, 50_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(680_000))
    sim.sends = ["refuse", "lose"]
    for _ in range(2):
        await rig.desk.pay()
        await rig.balanced()
        await rig.restart()
        await rig.balanced()
    await rig.desk.tend()
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [680_000]


async def test_unconfirmed_change_is_spent_but_not_stacked_without_end(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 1_900)
    rig.desk.wallet._policy = type(rig.rules.policy)(change_parts=1, depth_max=3)
    for _ in range(5):
        await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(200))
        await rig.desk.pay()
    assert (len(sim.sent), rig.desk.withdrawals.queued) == (3, 2)
    sim.mine()
    await rig.sync()
    await rig.desk.pay()
    assert rig.desk.withdrawals.queued == 0
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [200] * 5


async def test_change_is_split_while_coins_are_few(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 100_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    await rig.desk.pay()
    assert len(rig.desk.wallet.spendable()) == rig.rules.policy.change_parts


async def test_coins_that_a_stranger_spent_stop_the_wallet(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    tx = await rig.desk.withdrawals.batch()
    assert tx is not None
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    point = Outpoint.parse(tx.inputs[0])
    raw = assemble([Spent(point, Sats(10_000), b"")], [b"\x51"], [Output(Sats(9_000), b"\x51")])
    stranger = parse_transaction(raw)
    sim.pool[stranger.txid] = stranger
    sim.mine()
    await rig.sync()
    assert rig.desk.wallet.frozen
    await rig.desk.pay()
    assert sim.sent == []
    with pytest.raises(WalletEmpty):
        await rig.desk.wallet.make(rig.desk.withdrawals._order([]))
    assert (await rig.custody()).difference_sats == -10_000
    sim.rewind(1)  # the block of the theft leaves the chain
    sim.evict(stranger.txid)
    sim.mine(2)
    await rig.sync()


async def test_deep_transactions_are_final_and_forgotten(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    await rig.desk.pay()
    sim.mine(rig.rules.final_depth)
    await rig.sync()
    _, tx = await rig.desk.withdrawals.get(asked.id)
    assert tx is not None
    assert tx.state is TxState.FINAL
    assert rig.desk.books.txs == {}
    assert all(kept.value.state is CoinState.FREE for kept in rig.desk.books.coins.values())
    await rig.restart()
    assert rig.desk.books.txs == {}
    assert KeyPath.parse("change/0") in {kept.value.path for kept in rig.desk.books.coins.values()}


async def test_custody_is_not_told_while_the_ledger_is_in_doubt(rig: Rig, sim: SimNode) -> None:
    sim.fund(await script_of(rig, ANNA), 5_000)
    sim.mine()
    await rig.desk.follower.follow()
    rig.ledger.lose_answers = 1
    with pytest.raises(RemoteFailure):
        await rig.desk.read_blocks()
    with pytest.raises(LedgerInDoubt):
        await rig.custody()
    await rig.sync()
    assert rig.balance(ANNA) == 5_000
    await rig.balanced()
