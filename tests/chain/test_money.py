"""Deposits, withdrawals, titles and records over a node in memory: what callers see, and what is kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.errors import IdReused, RemoteFailure
from mesh.ids import uuid7
from services.chain.app.withdrawal_requests import Payout
from services.chain.domain.addresses import address_of
from services.chain.domain.aip import verify
from services.chain.domain.entities import TitleBody
from services.chain.domain.failures import (
    AddressInvalid,
    AmountTooSmall,
    DataTooLarge,
    InscriptionNotFound,
    InsufficientFunds,
    LedgerInDoubt,
    RecordNotFound,
    WalletEmpty,
    WithdrawalNotFound,
)
from services.chain.domain.inscriptions import read_inscription
from services.chain.domain.keys import RECORD, KeyPath, KeyUse
from services.chain.domain.record_outputs import read_record_output
from services.chain.domain.scripts import p2pkh
from services.chain.domain.spending import INPUTS_MAX
from services.chain.domain.states import CoinState, DepositState, TxState, WithdrawalState
from services.chain.domain.values import FLOAT_USER, MemeId, Network, Outpoint, Purpose, Sats, UserId
from services.chain.domain.wire import Output, Spent, assemble, parse_transaction
from tests.chain.chainsim import SimNode
from tests.chain.world import ANNA, BERT, CARA, RULES, Rig, fund, open_rig, opened_store, script_of

OUTSIDE = bytes(range(20))
ADDRESS = address_of(OUTSIDE, Network.REGTEST)


@pytest.fixture
def sim() -> SimNode:
    return SimNode()


@pytest_asyncio.fixture
async def rig(sim: SimNode, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim)
        yield rig
        await rig.balanced()


async def states(rig: Rig, user: UserId) -> list[DepositState]:
    return [deposit.state for deposit in await rig.desk.deposits.listed(user, "", 100)]


def title(meme: MemeId, creator: UserId = ANNA) -> TitleBody:
    return TitleBody(meme, creator, "A cat", "image/png", b"\x89PNG" * 100, "ab" * 32)


# deposits


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


async def test_a_block_half_applied_when_it_is_orphaned_is_undone(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    sim.fund(await script_of(rig, BERT), 5_000, faucet=900)
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
    sim.rewind(1)
    sim.evict(sim.sent[0])
    sim.fund(p2pkh(bytes(20)), 5_000, faucet=900)
    sim.mine(2)
    await rig.restart()
    await rig.sync()
    await rig.desk.tend()
    sim.mine()
    await rig.sync()
    found, _ = await rig.desk.withdrawals.get(asked.id)
    assert (rig.balance(BERT), found.state) == (0, WithdrawalState.CONFIRMED)
    assert sim.paid(p2pkh(OUTSIDE)) == [2_000]


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


# withdrawals


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


async def test_the_float_pays_again_for_the_same_bytes(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    await rig.desk.results.record(uuid7(), '{"round":1}')
    sim.sends = ["refuse"]
    assert await rig.desk.write_next()
    await rig.balanced()
    rig.desk.results._pauses.clear()
    assert await rig.desk.write_next()
    await rig.balanced()
    [tx] = rig.desk.books.live()
    assert rig.balance(FLOAT_USER) == 50_000 - tx.cost_sats


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


async def test_a_withdrawal_to_an_own_deposit_address_is_a_deposit(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 10_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, await rig.address(BERT), Sats(4_000))
    await rig.desk.pay()
    await rig.mempool()
    await rig.balanced()
    sim.mine()
    await rig.sync()
    assert rig.balance(BERT) == 4_000


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
    sim.fund(await script_of(rig, BERT), 50_000, faucet=900)
    sim.mine()
    await rig.sync()
    asked = await rig.desk.requests.withdraw(uuid7(), BERT, ADDRESS, Sats(20_000))
    await rig.desk.pay()
    [doomed] = sim.sent
    sim.evict(doomed)
    sim.rewind(1)
    sim.fund(p2pkh(bytes(20)), 50_000, faucet=900)
    sim.fund(await script_of(rig, ANNA), 90_000)
    sim.mine(2)
    await rig.sync()
    assert rig.ledger.debts == {f"user:{BERT}": 20_100}
    await rig.balanced()
    return asked.id


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
    sim.fund(await script_of(rig, BERT), 50_000, faucet=900)
    sim.mine()
    await rig.sync()
    ask = rig.desk.requests.withdraw
    wanted = ((BERT, 40_000), (BERT, 1_000), (ANNA, 2_000))
    asked = [(await ask(uuid7(), user, ADDRESS, Sats(sats))).id for user, sats in wanted]
    sim.rewind(1)
    sim.fund(p2pkh(bytes(20)), 50_000, faucet=900)
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
    sim.fund(await script_of(rig, BERT), 50_000, faucet=900)
    sim.mine()
    await rig.sync()
    asked = await rig.desk.requests.withdraw(uuid7(), BERT, ADDRESS, Sats(20_000))
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    assert (await rig.desk.withdrawals.get(asked.id))[0].state is WithdrawalState.CONFIRMED
    sim.rewind(2)
    sim.evict(sim.sent[0])
    sim.fund(p2pkh(bytes(20)), 50_000, faucet=900)
    sim.mine(3)
    await rig.sync()
    await rig.balanced()
    sim.mine()
    await rig.sync()
    found, _ = await rig.desk.withdrawals.get(asked.id)
    assert (found.state, rig.balance(BERT), rig.ledger.debts) == (WithdrawalState.FAILED, 0, {})
    assert (await rig.custody()).coins_sats == 0


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


# titles and records


async def test_a_title_is_inscribed_held_for_its_owner_and_paid_by_the_float(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    meme = MemeId(uuid7())
    asked = await rig.desk.titles.inscribe(title(meme))
    assert (asked.title.outpoint, asked.tx_state) == ("", None)
    assert await rig.desk.write_next()
    assert not await rig.desk.write_next()
    sim.mine()
    await rig.sync()
    shown = await rig.desk.titles.get(meme)
    [tx] = [one for one in sim.on_chain() if one.txid in sim.sent]
    found = read_inscription(tx.outputs[0].script)
    assert (found.data, found.mime, tx.outputs[0].sats) == (title(meme).poster, "image/png", 1)
    assert found.map == {
        "app": "satreel",
        "type": "ord",
        "name": "A cat",
        "subType": "title",
        "memeId": meme,
        "creator": ANNA,
        "film": "ab" * 32,
    }
    key = rig.world.keys.key(await rig.desk.accounts.path(ANNA, KeyUse.TITLE))
    assert (found.key_hash, shown.title.owner_id) == (key.key_hash, ANNA)
    assert (shown.title.origin, shown.confirmations) == (f"{tx.txid}_0", 1)
    fee = rig.desk.books.tx_of(tx.txid).value.fee_sats  # type: ignore[union-attr]
    assert rig.balance(FLOAT_USER) == 50_000 - 1 - fee


async def test_a_title_moves_with_its_satoshi_from_owner_to_owner(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(title(meme))
    sales = [(uuid7(), BERT), (uuid7(), CARA), (uuid7(), ANNA)]
    for sale, owner in sales:
        await rig.desk.titles.transfer(sale, meme, owner)
    while await rig.desk.write_next():
        await rig.balanced()
    sim.mine()
    await rig.sync()
    shown = await rig.desk.titles.get(meme)
    assert shown.title.owner_id == ANNA
    point = Outpoint.parse(shown.title.origin)
    for _, owner in sales:
        [tx] = [one for one in sim.on_chain() if one.spends and one.spends[0] == point]
        script = rig.world.keys.key(await rig.desk.accounts.path(owner, KeyUse.TITLE)).script
        assert (tx.outputs[0].sats, tx.outputs[0].script) == (1, script)
        point = Outpoint(tx.txid, 0)
    assert shown.title.outpoint == str(point)
    again = await rig.desk.titles.transfer(*sales[0][:1], meme, BERT)
    assert again.title == shown.title
    assert not await rig.desk.write_next()


async def test_titles_are_refused_with_nothing_changed(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    meme, sale = MemeId(uuid7()), uuid7()
    with pytest.raises(InscriptionNotFound):
        await rig.desk.titles.get(meme)
    with pytest.raises(InscriptionNotFound):
        await rig.desk.titles.transfer(sale, meme, BERT)
    with pytest.raises(DataTooLarge):
        await rig.desk.titles.inscribe(TitleBody(meme, ANNA, "A", "image/png", b"x" * 500_001, "ab" * 32))
    assert rig.desk.titles.queued == 0
    await rig.desk.titles.inscribe(title(meme))
    with pytest.raises(IdReused):
        await rig.desk.titles.inscribe(title(meme, BERT))
    await rig.desk.titles.inscribe(title(meme))
    await rig.desk.titles.transfer(sale, meme, BERT)
    with pytest.raises(IdReused):
        await rig.desk.titles.transfer(sale, meme, CARA)
    assert rig.desk.titles.queued == 2
    while await rig.desk.write_next():
        pass
    assert (await rig.desk.titles.get(meme)).title.owner_id == BERT
    assert len(sim.sent) == 2


async def test_an_empty_float_is_waited_for_and_never_negative(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 50_000)
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(title(meme))
    assert not await rig.desk.write_next()
    assert (sim.sent, rig.balance(FLOAT_USER)) == ([], 0)
    await fund(rig, sim, FLOAT_USER, 500)
    assert await rig.desk.write_next()
    assert 0 <= rig.balance(FLOAT_USER) < 500


async def test_a_title_moves_while_the_float_is_too_low_to_inscribe_another(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 50_000)
    await fund(rig, sim, FLOAT_USER, 250)
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(title(meme))
    assert await rig.desk.write_next()
    await rig.desk.titles.inscribe(replace(title(MemeId(uuid7())), poster=b"\x89PNG" * 1_000))
    await rig.desk.titles.transfer(uuid7(), meme, BERT)
    assert await rig.desk.write_next()
    assert (await rig.desk.titles.get(meme)).title.owner_id == BERT
    assert not await rig.desk.write_next()


async def test_a_float_that_was_spent_meanwhile_is_waited_for(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 500)
    await rig.desk.titles.inscribe(title(MemeId(uuid7())))
    rig.ledger.balances[FLOAT_USER] -= 499
    rig.ledger.balances["user:other"] = 499
    available = rig.ledger.available_sats

    async def stale(account: str) -> Sats:
        return Sats(500)

    rig.ledger.available_sats = stale  # type: ignore[method-assign]
    assert await rig.desk.write_next()
    rig.ledger.available_sats = available  # type: ignore[method-assign]
    assert sim.sent == []
    await rig.balanced()
    rig.ledger.balances[FLOAT_USER] += 499
    rig.ledger.balances["user:other"] = 0
    await rig.desk.tend()
    assert len(sim.sent) == 1
    await rig.balanced()


async def test_a_result_is_read_back_and_its_signature_holds(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    payload = json.dumps({"payouts": [1, 2], "round": "r"}, sort_keys=True, separators=(",", ":"))
    round_id = uuid7()
    with pytest.raises(RecordNotFound):
        await rig.desk.results.get(round_id)
    await rig.desk.results.record(round_id, payload)
    await rig.desk.results.record(round_id, payload)
    with pytest.raises(IdReused):
        await rig.desk.results.record(round_id, payload + " ")
    with pytest.raises(DataTooLarge):
        await rig.desk.results.record(uuid7(), '"' + "é" * 45_001 + '"')
    assert await rig.desk.write_next()
    assert not await rig.desk.write_next()
    sim.mine()
    await rig.sync()
    [tx] = [one for one in sim.on_chain() if one.txid in sim.sent]
    found = read_record_output(tx.outputs[0].script)
    shown = await rig.desk.results.get(round_id)
    digest = hashlib.sha256(payload.encode()).hexdigest()
    assert found.payload.decode() == payload
    assert found.round_id == round_id
    assert (shown.result.txid, shown.result.sha256, shown.tx_state) == (tx.txid, digest, TxState.MINED)
    assert found.authored.address == rig.world.keys.address(RECORD)
    verify(found.authored, Network.REGTEST)
    assert [one.tx_state for one in rig.news.results] == ["signed", "mined"]


# the whole


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
