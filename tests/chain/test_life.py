"""The life of a transaction: contested, reorganised, replaced, stuck; and what each means for its payment."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from mesh import telemetry
from mesh.ids import uuid7
from services.chain.app.pauses import FIRST_S, MOST_S, Pauses
from services.chain.app.ports import Sent
from services.chain.domain.entities import Tx
from services.chain.domain.failures import FreezeNotFound
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import TxState, WithdrawalState
from services.chain.domain.values import Outpoint, Sats, Txid, UserId
from services.chain.domain.wire import Output, Spent, Transaction, assemble, parse_transaction
from tests.chain.chainsim import SimNode
from tests.chain.faults import Killed, MortalStore
from tests.chain.world import ADDRESS, ANNA, BERT, OUTSIDE, RULES, Rig, fund, open_rig, opened_store


class HandClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ns(self) -> int:
        return int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


async def asked(rig: Rig, sats: int = 1_000, user: UserId = ANNA) -> str:
    """A withdrawal that was tried to be sent."""
    found = await rig.desk.requests.withdraw(uuid7(), user, ADDRESS, Sats(sats))
    await rig.desk.pay()
    return found.id


async def tx_of(rig: Rig, withdrawal: str) -> Tx:
    _, tx = await rig.desk.withdrawals.get(withdrawal)
    assert tx is not None
    return tx


def rival(tx: Tx) -> Transaction:
    """Another spend of the transaction's first coin."""
    spent = Spent(Outpoint.parse(tx.inputs[0]), Sats(1), b"")
    return parse_transaction(assemble([spent], [b"\x51"], [Output(Sats(1), b"\x51")]))


async def contested(rig: Rig, sim: SimNode) -> tuple[str, Transaction]:
    """A withdrawal whose coin somebody else spends in the node's mempool."""
    await fund(rig, sim, ANNA, 50_000)
    sim.sends = ["lose"]
    withdrawal = await asked(rig)
    other = rival(await tx_of(rig, withdrawal))
    sim.pool[other.txid] = other
    await rig.desk.tend()
    assert (await tx_of(rig, withdrawal)).state is TxState.CONTESTED
    return withdrawal, other


async def test_a_contested_transaction_is_watched_until_it_wins(rig: Rig, sim: SimNode) -> None:
    withdrawal, other = await contested(rig, sim)
    await rig.balanced()
    for _ in range(3):
        await rig.restart()
        await rig.desk.tend()
        await rig.desk.pay()
    assert (await tx_of(rig, withdrawal)).state is TxState.CONTESTED
    assert (rig.desk.withdrawals.queued, sim.sent) == (0, [])  # nothing else pays it meanwhile
    sim.evict(other.txid)
    await rig.restart()
    await rig.desk.tend()
    assert (await tx_of(rig, withdrawal)).state is TxState.SEEN
    sim.mine()
    await rig.sync()
    assert ((await tx_of(rig, withdrawal)).state, sim.paid(p2pkh(OUTSIDE))) == (TxState.MINED, [1_000])
    await rig.balanced()


async def test_a_contested_transaction_that_loses_stops_the_wallet_and_is_not_paid_again(
    rig: Rig, sim: SimNode
) -> None:
    withdrawal, _ = await contested(rig, sim)
    sim.mine()
    await rig.sync()
    assert "not ours" in rig.desk.wallet.frozen
    assert (await tx_of(rig, withdrawal)).state is TxState.CONTESTED
    await rig.desk.pay()
    assert (rig.desk.withdrawals.queued, sim.sent) == (0, [])


async def test_a_freeze_outlives_restarts_until_somebody_lifts_it_and_the_same_spend_freezes_once(
    rig: Rig, sim: SimNode
) -> None:
    _, other = await contested(rig, sim)
    sim.mine()
    await rig.sync()
    await fund(rig, sim, BERT, 20_000)
    await rig.restart()
    waiting = await asked(rig, user=BERT)
    assert ("not ours" in rig.desk.wallet.frozen, sim.sent) == (True, [])
    with pytest.raises(FreezeNotFound):
        await rig.desk.freezing.lift(Txid("ab" * 32), "an administrator")
    for _ in range(2):  # may be repeated
        await rig.desk.freezing.lift(other.txid, "an administrator")
    await rig.desk.pay()
    assert [(await tx_of(rig, waiting)).txid] == sim.sent
    await rig.restart()
    spent, block = Outpoint.parse((await tx_of(rig, waiting)).inputs[0]), rig.desk.books.chain.tip
    await rig.desk.wallet.lost(spent, other.txid, block)
    assert rig.desk.wallet.frozen == ""  # it was looked into
    await rig.desk.wallet.lost(spent, Txid("cd" * 32), block)
    await rig.restart()
    assert [freeze.txid for freeze in rig.desk.freezing.open] == ["cd" * 32]


async def test_what_a_stranger_took_is_paid_by_another_once_somebody_looked_into_it(
    rig: Rig, sim: SimNode
) -> None:
    withdrawal, other = await contested(rig, sim)
    sim.mine()
    await fund(rig, sim, BERT, 60_000)
    for _ in range(3):
        await rig.sync()
        await rig.restart()
    lost = await tx_of(rig, withdrawal)
    assert (lost.state, sim.sent) == (TxState.CONTESTED, [])  # nobody has looked yet
    await rig.desk.freezing.lift(other.txid, "an administrator")
    await rig.desk.tend()
    assert rig.desk.withdrawals.queued == 1
    await rig.desk.pay()
    sim.mine()
    await rig.sync()
    found, again = await rig.desk.withdrawals.get(withdrawal)
    assert (found.state, sim.paid(p2pkh(OUTSIDE))) == (WithdrawalState.CONFIRMED, [1_000])
    assert again is not None
    kept = await rig.world.records.txs.get(lost.plan)
    assert kept is not None
    assert (kept.value.state, kept.value.replaced_by) == (TxState.REPLACED, again.txid)
    assert (await rig.custody()).difference_sats == -50_000  # it is gone, and shows


async def test_what_a_transaction_that_was_given_up_pays_after_all_is_not_paid_again(
    rig: Rig, sim: SimNode
) -> None:
    await fund(rig, sim, ANNA, 50_000)
    asked_for = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    first = await rig.desk.withdrawals.batch()
    assert first is not None
    sim.sends = ["refuse"]
    await rig.desk.sender.send(first.plan)
    await rig.desk.pay()
    second = await tx_of(rig, asked_for.id)
    assert second.plan != first.plan
    for txid in (second.txid, first.txid):
        sim.evict(txid)
    sim.pool[first.txid] = parse_transaction(first.raw)
    sim.mine()
    await fund(rig, sim, BERT, 60_000)
    await rig.sync()
    assert "ours and was given up" in rig.desk.wallet.frozen
    await rig.desk.freezing.lift(first.txid, "an administrator")
    sim.mine(3)
    for _ in range(3):
        await rig.sync()
        await rig.restart()
        await rig.desk.tend()
        await rig.desk.pay()
    assert (await tx_of(rig, asked_for.id)).state is TxState.CONTESTED
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000]


async def test_a_loss_that_a_reorganisation_undoes_is_none(rig: Rig, sim: SimNode) -> None:
    withdrawal, other = await contested(rig, sim)
    sim.mine()
    await rig.sync()
    await rig.desk.freezing.lift(other.txid, "an administrator")
    sim.rewind(1)
    sim.evict(other.txid)
    sim.mine(4)
    for _ in range(2):
        await rig.sync()
        await rig.restart()
    assert (await tx_of(rig, withdrawal)).state in (TxState.SEEN, TxState.MINED)
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000]
    await rig.balanced()


@pytest.mark.parametrize("behind", [False, True])
async def test_killed_at_every_write_while_the_block_of_a_rival_is_read_it_freezes(
    tmp_path: Path, behind: bool
) -> None:
    for write in count():
        sim = SimNode()
        async with opened_store(tmp_path / f"{write}.sqlite") as store:
            rig = await open_rig(store, sim)
            await contested(rig, sim)
            sim.mine()
            mortal = MortalStore(store, at=write, behind=behind)
            with suppress(Killed):
                await rig.live_on(mortal)
                await rig.sync()
            await mortal.at_rest()
            await rig.live_on(store)
            await rig.sync()
            assert "not ours" in rig.desk.wallet.frozen
            if not mortal.dead:
                assert write > 2
                return


async def test_missing_inputs_are_never_final_by_themselves(sim: SimNode, tmp_path: Path) -> None:
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim, rules=replace(RULES, replace_after_blocks=100))
        deposit = await fund(rig, sim, ANNA, 50_000)
        withdrawal = await asked(rig)
        [txid] = sim.sent
        sim.rewind(1)
        for gone in (txid, deposit.txid):
            sim.evict(gone)
        sim.mine(3)
        for _ in range(3):
            await rig.sync()  # the node says that inputs are missing
            await rig.restart()
        assert rig.available(ANNA) == 0
        assert (await tx_of(rig, withdrawal)).txid == txid
        assert (rig.desk.withdrawals.queued, txid in sim.pool) == (0, False)
        sim.pool[deposit.txid] = deposit
        sim.mine()
        await rig.sync()
        assert sim.sent == [txid, txid]
        sim.mine()
        await rig.sync()
        assert sim.paid(p2pkh(OUTSIDE)) == [1_000]
        await rig.balanced()


async def test_a_refusal_after_a_lost_answer_is_not_final(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 50_000)
    sim.sends = ["lose"]
    withdrawal = await asked(rig)
    first = await tx_of(rig, withdrawal)
    assert first.state is TxState.SENT
    sim.sends = ["full"]
    await rig.desk.tend()
    assert (await tx_of(rig, withdrawal)).txid == first.txid
    assert (await tx_of(rig, withdrawal)).state is TxState.SENT
    # Somebody had it after all.
    sim.pool[first.txid] = parse_transaction(first.raw)
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000]
    await rig.balanced()


async def test_a_refusal_of_the_very_first_sending_is_replaced_and_says_by_what(
    rig: Rig, sim: SimNode
) -> None:
    await fund(rig, sim, ANNA, 50_000)
    sim.sends = ["full"]
    found = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    refused = await rig.desk.withdrawals.batch()
    assert refused is not None
    await rig.desk.sender.send(refused.plan)
    rejected = await rig.desk.books.tx(refused.plan)
    assert rejected is not None
    assert (rejected.state, rejected.replaced_by) == (TxState.REJECTED, "")
    await rig.restart()  # what is to be replaced is known from the records
    await rig.desk.pay()
    after = await tx_of(rig, found.id)
    before = await rig.desk.books.tx(refused.plan)
    assert before is not None
    assert (before.state, before.replaced_by) == (TxState.REPLACED, after.txid)
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000]
    await rig.balanced()


async def test_a_reorganisation_is_a_state_until_the_node_has_it_again(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 50_000)
    withdrawal = await asked(rig)
    sim.mine()
    await rig.sync()
    [txid] = sim.sent
    sim.rewind(1)
    tx = sim.pool.pop(txid)
    sim.mine(2)
    sim.sends = ["lose"]
    await rig.sync()
    found = await tx_of(rig, withdrawal)
    assert (found.state, found.block_hash) == (TxState.REORGANISED, "")
    found_withdrawal, _ = await rig.desk.withdrawals.get(withdrawal)
    assert found_withdrawal.state is WithdrawalState.SENT
    sim.sends = ["full"]  # a refusal by one node is not final: it was in a block
    await rig.restart()
    await rig.desk.tend()
    assert (await tx_of(rig, withdrawal)).state is TxState.REORGANISED
    sim.pool[txid] = tx
    await rig.desk.tend()
    again = await tx_of(rig, withdrawal)
    assert (again.state, again.sent_height) == (TxState.SEEN, rig.desk.books.chain.tip.height)
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [1_000]
    await rig.balanced()


async def test_what_a_node_has_and_no_block_takes_is_sent_again_after_2_4_8_blocks(
    rig: Rig, sim: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fund(rig, sim, ANNA, 50_000)
    await asked(rig)
    sent_after = []
    send = sim.send

    async def counting(raw: bytes, spent: Sequence[Output]) -> Sent:
        sent_after.append(sim.blocks[sim.tip].block.height - height)
        return await send(raw, spent)

    monkeypatch.setattr(sim, "send", counting)
    height = sim.blocks[sim.tip].block.height
    for _ in range(17):
        sim.mine(only=[])
        await rig.sync()
        await rig.desk.tend()
    assert sent_after == [2, 4, 8, 16]
    assert len(sim.sent) == 1


def test_pauses_grow_up_to_a_limit() -> None:
    clock = HandClock()
    pauses = Pauses(clock)
    waits = []
    for _ in range(9):
        assert pauses.over("a")
        pauses.begin("a")
        begun = clock.now_s
        while not pauses.over("a"):
            clock.now_s += 1
        waits.append(clock.now_s - begun)
    assert waits == [FIRST_S * 2**n for n in range(7)] + [MOST_S, MOST_S]
    pauses.begin("a")
    assert pauses.over("b")
    pauses.clear()
    assert pauses.over("a")


async def test_what_does_not_arrive_is_not_sent_at_every_look(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 50_000)
    sim.sends = ["lose"] * 5
    await asked(rig)
    for _ in range(5):
        await rig.desk.tend()
    assert len(sim.sends) == 3  # the first sending, one repetition, then a pause
    sim.sends = []
    sim.mine()
    await rig.sync()  # a new block may have changed what was wrong
    assert len(sim.sent) == 1


async def test_a_transactions_record_keeps_who_ordered_it(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 50_000)
    with telemetry.tracer.start_as_current_span("asks") as asks:
        await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    signed = await rig.desk.withdrawals.batch()
    assert signed is not None
    kept = await rig.world.records.txs.get(signed.plan)
    assert kept is not None
    (cause,) = kept.value.causes
    assert telemetry.context_of(cause).span_id == asks.context.span_id
