"""Withdrawals whose block, or whose deposit, is undone: nobody pays for another."""

from __future__ import annotations

import pytest

from mesh.errors import RemoteFailure
from mesh.ids import uuid7
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import WithdrawalState
from services.chain.domain.values import Sats, Txid
from tests.chain.chainsim import SimNode
from tests.chain.world import ADDRESS, ANNA, BERT, OUTSIDE, Rig, fund, script_of

pytestmark = pytest.mark.usefixtures("balanced")

DEPOSIT = 50_000


async def deposit_once(rig: Rig, sim: SimNode, sats: int = DEPOSIT) -> None:
    """A payment to Bert that may turn out to be spent elsewhere, not mined yet."""
    sim.fund(await script_of(rig, BERT), sats, faucet=900)


def spend_elsewhere(
    sim: SimNode, sats: int = DEPOSIT, *, blocks: int = 1, doomed: Txid | None = None
) -> None:
    """The newest blocks are orphaned, and what had paid Bert pays a stranger. `doomed` had spent it."""
    sim.rewind(blocks)
    if doomed is not None:
        sim.evict(doomed)
    sim.fund(p2pkh(bytes(20)), sats, faucet=900)


async def withdraw_from_deposit(rig: Rig, sim: SimNode) -> str:
    """Bert withdraws a part of what he was paid; it is sent."""
    await deposit_once(rig, sim)
    sim.mine()
    await rig.sync()
    asked = await rig.desk.requests.withdraw(uuid7(), BERT, ADDRESS, Sats(20_000))
    await rig.desk.pay()
    return asked.id


async def test_a_block_half_applied_when_it_is_orphaned_is_undone(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    await deposit_once(rig, sim, 5_000)
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(2_000))
    await rig.desk.pay()
    sim.mine()
    while await rig.desk.follower.follow():
        pass
    # Bert's deposit is credited; the answer to the posting of the withdrawal is lost.
    rig.ledger.lose_answer_no = 2
    with pytest.raises(RemoteFailure):
        await rig.desk.reader.catch_up()
    assert (rig.balance(BERT), rig.ledger.holds) == (5_000, {})
    spend_elsewhere(sim, 5_000, doomed=sim.sent[0])
    sim.mine(2)
    await rig.restart()
    await rig.sync()
    await rig.desk.tend()
    sim.mine()
    await rig.sync()
    found, _ = await rig.desk.withdrawals.get(asked.id)
    assert (rig.balance(BERT), found.state) == (0, WithdrawalState.CONFIRMED)
    assert sim.paid(p2pkh(OUTSIDE)) == [2_000]


async def test_a_withdrawal_survives_the_end_of_its_block(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    balance = rig.balance(ANNA)
    [txid] = sim.sent
    sim.rewind(1)
    sim.pool.pop(txid)
    sim.mine(2, only=[])
    await rig.sync()
    assert (await rig.desk.withdrawals.get(asked.id))[0].state is WithdrawalState.SENT
    assert sim.sent == [txid, txid]
    await rig.balanced()
    sim.mine()
    await rig.sync()
    assert (await rig.desk.withdrawals.get(asked.id))[0].state is WithdrawalState.CONFIRMED
    assert (rig.balance(ANNA), sim.paid(p2pkh(OUTSIDE))) == (balance, [1_000])


async def double_spend_under_a_withdrawal(rig: Rig, sim: SimNode) -> str:
    """Bert withdraws coins whose deposit then turns out to be spent elsewhere. Anna has enough for both."""
    withdrawal = await withdraw_from_deposit(rig, sim)
    [doomed] = sim.sent
    spend_elsewhere(sim, doomed=doomed)
    sim.fund(await script_of(rig, ANNA), 90_000)
    sim.mine(2)
    await rig.sync()
    assert rig.ledger.debts == {f"user:{BERT}": 20_100}
    await rig.balanced()
    return withdrawal


async def test_a_withdrawal_that_died_with_its_deposit_is_not_paid_by_others(rig: Rig, sim: SimNode) -> None:
    withdrawal = await double_spend_under_a_withdrawal(rig, sim)
    sim.mine()
    await rig.sync()
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    found, _ = await rig.desk.withdrawals.get(withdrawal)
    assert (found.state, found.failure) == (WithdrawalState.FAILED, "the balance no longer covers it")
    assert (rig.balance(BERT), rig.ledger.debts, rig.ledger.holds) == (0, {}, {})
    assert (rig.balance(ANNA), sim.paid(p2pkh(OUTSIDE))) == (90_000, [])


async def test_what_is_queued_when_its_deposit_is_undone_is_not_paid_by_others(
    rig: Rig, sim: SimNode
) -> None:
    await fund(rig, sim, ANNA, 90_000)
    await fund(rig, sim, BERT, 5_000)
    await deposit_once(rig, sim)
    sim.mine()
    await rig.sync()
    ask = rig.desk.requests.withdraw
    wanted = ((BERT, 40_000), (BERT, 1_000), (ANNA, 2_000))
    asked = [(await ask(uuid7(), user, ADDRESS, Sats(sats))).id for user, sats in wanted]
    spend_elsewhere(sim)
    sim.mine(2)
    await rig.sync()
    await rig.balanced()
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    found = [(await rig.desk.withdrawals.get(one))[0] for one in asked]
    assert [one.state for one in found] == ["failed", "confirmed", "confirmed"]
    assert sorted(sim.paid(p2pkh(OUTSIDE))) == [1_000, 2_000]
    assert (rig.balance(BERT), rig.ledger.debts, rig.ledger.holds) == (4_000 - found[1].share_sats, {}, {})


async def test_a_withdrawal_that_the_user_still_covers_is_paid_by_other_coins(rig: Rig, sim: SimNode) -> None:
    withdrawal = await double_spend_under_a_withdrawal(rig, sim)
    await fund(rig, sim, BERT, 60_000)
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    found, tx = await rig.desk.withdrawals.get(withdrawal)
    assert tx is not None
    assert (found.state, sim.paid(p2pkh(OUTSIDE))) == (WithdrawalState.CONFIRMED, [20_000])
    assert rig.balance(BERT) == 40_000 - found.share_sats


async def test_a_confirmed_withdrawal_that_died_with_its_deposit_is_taken_back(
    rig: Rig, sim: SimNode
) -> None:
    withdrawal = await withdraw_from_deposit(rig, sim)
    sim.mine()
    await rig.sync()
    assert (await rig.desk.withdrawals.get(withdrawal))[0].state is WithdrawalState.CONFIRMED
    spend_elsewhere(sim, blocks=2, doomed=sim.sent[0])
    sim.mine(3)
    await rig.sync()
    await rig.balanced()
    sim.mine()
    await rig.sync()
    found, _ = await rig.desk.withdrawals.get(withdrawal)
    assert (found.state, rig.balance(BERT), rig.ledger.debts) == (WithdrawalState.FAILED, 0, {})
    assert (await rig.custody()).coins_sats == 0
