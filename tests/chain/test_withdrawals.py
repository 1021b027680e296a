"""Withdrawals over a node in memory: what is asked for, refused, and paid to the satoshi."""

from __future__ import annotations

import pytest

from mesh.errors import IdReused, RemoteFailure
from mesh.ids import uuid7
from services.chain.app.withdrawal_requests import Payout
from services.chain.domain.addresses import address_of
from services.chain.domain.failures import (
    AddressInvalid,
    AmountTooSmall,
    InsufficientFunds,
    WithdrawalNotFound,
)
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import WithdrawalState
from services.chain.domain.values import Network, Sats
from tests.chain.chainsim import SimNode
from tests.chain.world import ADDRESS, ANNA, BERT, CARA, OUTSIDE, Rig, fund

pytestmark = pytest.mark.usefixtures("balanced")


async def test_a_withdrawal_of_all_but_the_fee(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(9_900))
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    found, tx = await rig.desk.withdrawals.get(asked.id)
    assert tx is not None
    assert (found.state, sim.paid(p2pkh(OUTSIDE))) == (WithdrawalState.CONFIRMED, [9_900])
    assert rig.balance(ANNA) == 10_000 - 9_900 - found.share_sats
    assert found.share_sats == tx.fee_sats
    assert [one.state for one in rig.news.withdrawals] == ["queued", "sent", "confirmed"]


async def test_a_thousand_withdrawals_are_one_transaction(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 1_000_000)
    payouts = [Payout(uuid7(), ANNA, Sats(400)) for _ in range(1_000)]
    rig.users.addresses[ANNA] = ADDRESS
    queued, skipped = await rig.desk.requests.pay_out(payouts)
    assert (len(queued), skipped) == (1_000, [])
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    assert len(sim.sent) == 1
    assert sim.paid(p2pkh(OUTSIDE)) == [300] * 1_000
    [tx] = {one.txid for one in rig.news.withdrawals if one.txid}
    kept = rig.desk.books.tx_of(tx)
    assert kept is not None
    assert rig.balance(ANNA) == 1_000_000 - 300_000 - kept.value.fee_sats
    assert rig.ledger.holds == {}


async def test_payouts_go_to_those_who_want_them_and_can(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    await fund(rig, sim, BERT, 200)
    rig.users.addresses |= {ANNA: ADDRESS, BERT: ADDRESS}
    wanted = [
        Payout(uuid7(), user, Sats(sats)) for user, sats in ((ANNA, 5_000), (BERT, 5_000), (CARA, 5_000))
    ]
    small = Payout(uuid7(), ANNA, Sats(299))
    queued, skipped = await rig.desk.requests.pay_out([*wanted, small])
    assert [(one.id, one.amount_sats) for one in queued] == [(wanted[0].id, 4_900)]
    assert sorted(skipped) == sorted([BERT, CARA, ANNA])
    rig.users.addresses.clear()
    again, _ = await rig.desk.requests.pay_out(wanted[:1])
    assert [one.id for one in again] == [wanted[0].id]
    assert rig.available(ANNA) == 5_000
    with pytest.raises(IdReused):
        await rig.desk.requests.pay_out([Payout(wanted[0].id, ANNA, Sats(6_000))])
    assert rig.available(ANNA) == 5_000


async def test_no_amount_is_too_large_to_be_refused(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    for sats in (2**63 - 1, 2**63 - 101, 21_000_000 * 100_000_000):
        with pytest.raises(InsufficientFunds):
            await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(sats))
    assert await rig.world.records.withdrawals.all() == []
    await rig.desk.tend()
    await rig.restart()


async def test_what_is_asked_twice_is_done_once(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    id_ = uuid7()
    first = await rig.desk.requests.withdraw(id_, ANNA, ADDRESS, Sats(1_000))
    assert await rig.desk.requests.withdraw(id_, ANNA, ADDRESS, Sats(1_000)) == first
    assert rig.available(ANNA) == 10_000 - 1_100
    for user, sats in ((ANNA, 1_001), (BERT, 1_000)):
        with pytest.raises(IdReused):
            await rig.desk.requests.withdraw(id_, user, ADDRESS, Sats(sats))
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000]
    after = await rig.desk.requests.withdraw(id_, ANNA, ADDRESS, Sats(1_000))
    assert after.state is WithdrawalState.CONFIRMED


async def test_refusals_change_nothing(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 1_000)
    before = dict(rig.ledger.balances), dict(rig.ledger.holds)
    ask = rig.desk.requests.withdraw
    main = address_of(OUTSIDE, Network.MAIN)
    for address, sats, failure in (
        (main, 500, AddressInvalid),
        ("nonsense-nonsense", 500, AddressInvalid),
        (ADDRESS, 199, AmountTooSmall),
        (ADDRESS, 901, InsufficientFunds),
    ):
        id_ = uuid7()
        with pytest.raises(failure):
            await ask(id_, ANNA, address, Sats(sats))
        with pytest.raises(WithdrawalNotFound):
            await rig.desk.withdrawals.get(id_)
    assert (rig.ledger.balances, rig.ledger.holds) == before
    assert await rig.desk.withdrawals.listed(ANNA, "", 10) == []
    assert (rig.desk.withdrawals.queued, sim.sent) == (0, [])


async def test_a_refused_withdrawal_may_be_asked_for_again(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 1_000)
    id_ = uuid7()
    for _ in range(2):
        with pytest.raises(InsufficientFunds) as refused:
            await rig.desk.requests.withdraw(id_, ANNA, ADDRESS, Sats(5_000))
        assert refused.value.metadata == {"available": "1000", "needed": "5100"}
    await fund(rig, sim, ANNA, 9_000)
    found = await rig.desk.requests.withdraw(id_, ANNA, ADDRESS, Sats(5_000))
    assert (found.state, rig.available(ANNA)) == (WithdrawalState.QUEUED, 4_900)


async def test_a_hold_of_unknown_outcome_is_asked_about_and_counted_once(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    rig.ledger.lose_answers = 1
    with pytest.raises(RemoteFailure):
        await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    assert (rig.available(ANNA), rig.desk.withdrawals.queued) == (8_900, 0)
    await rig.restart()
    assert (rig.available(ANNA), rig.desk.withdrawals.queued) == (8_900, 1)
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000]


async def test_a_withdrawal_to_an_own_deposit_address_is_a_deposit(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, await rig.address(BERT), Sats(4_000))
    await rig.desk.pay()
    await rig.mempool()
    await rig.balanced()
    sim.mine()
    await rig.sync()
    assert rig.balance(BERT) == 4_000
