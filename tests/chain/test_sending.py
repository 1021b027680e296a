"""A node loses, forgets or refuses what it is sent: the same bytes go again, or the money is released."""

from __future__ import annotations

import pytest

from mesh.ids import uuid7
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import TxState, WithdrawalState
from services.chain.domain.values import Sats
from tests.chain.chainsim import SimNode
from tests.chain.world import ADDRESS, ANNA, BERT, OUTSIDE, Rig, fund

pytestmark = pytest.mark.usefixtures("balanced")


async def test_what_a_node_had_and_refuses_now_is_not_paid_by_another(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    await fund(rig, sim, BERT, 90_000)
    sim.sends = ["full"]
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(2_000))
    for _ in range(2):
        await rig.desk.pay()
    # The first, which nobody had, was replaced.
    [sent] = sim.sent
    tx = sim.pool[sent]
    sim.evict(sent)
    sim.sends = ["full", "full"]
    await rig.desk.tend()
    await rig.desk.tend()
    assert (sim.sent, rig.desk.withdrawals.queued) == ([sent], 0)
    sim.pool[sent] = tx
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [2_000]


async def test_a_lost_answer_is_asked_about_and_the_same_bytes_are_sent(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    for lost in ("lose", "take and lose"):
        asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
        sim.sends = [lost]
        await rig.desk.pay()
        found, tx = await rig.desk.withdrawals.get(asked.id)
        assert tx is not None
        assert (found.state, tx.state) == (WithdrawalState.SENT, TxState.SENT)
        await rig.desk.tend()
        assert (await rig.desk.withdrawals.get(asked.id))[1].state is TxState.SEEN  # type: ignore[union-attr]
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000, 1_000]
    assert len(sim.sent) == 2


async def test_what_left_the_mempool_is_sent_again(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    await rig.desk.pay()
    [txid] = sim.sent
    sim.evict(txid)
    await rig.desk.tend()
    assert sim.sent == [txid, txid]


async def test_a_withdrawal_that_is_refused_again_and_again_fails_and_is_released(
    rig: Rig, sim: SimNode
) -> None:
    await fund(rig, sim, ANNA, 10_000)
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    sim.sends = ["refuse"] * 3
    for _ in range(3):
        await rig.desk.pay()
    found, _ = await rig.desk.withdrawals.get(asked.id)
    assert found.state is WithdrawalState.FAILED
    assert "could not be mined" in found.failure
    assert (rig.available(ANNA), sim.sent) == (10_000, [])
    assert (await rig.custody()).coins_sats == 10_000
