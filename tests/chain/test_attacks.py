"""Attacks that once worked: each lost money, invented it, stopped the service or made it lie."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from mesh.clock import SystemClock
from mesh.errors import RemoteFailure
from mesh.ids import uuid7
from services.chain.adapters.http import Answer, HttpSource
from services.chain.adapters.whatsonchain.histories import Histories
from services.chain.app.deposits import GONE_BLOCKS
from services.chain.app.orders import Order, nothing
from services.chain.app.ports import Broadcast, Sent
from services.chain.app.records import Kept
from services.chain.domain.consensus import CONSENSUS, BadHeader
from services.chain.domain.entities import TitleBody, Tx
from services.chain.domain.failures import NodeUnavailable, WalletEmpty
from services.chain.domain.header import Block
from services.chain.domain.headers import HeaderChain
from services.chain.domain.keys import FLOAT, KeyRing
from services.chain.domain.scan import Findings, Interest
from services.chain.domain.scripts import p2pkh
from services.chain.domain.spending import ChangeRule, Spendable, check, draft, fee_for, size_max
from services.chain.domain.states import TxState, WithdrawalState
from services.chain.domain.values import (
    FLOAT_USER,
    SATS_MAX,
    BlockHash,
    MemeId,
    Network,
    Outpoint,
    PlanId,
    Purpose,
    Sats,
    Txid,
)
from services.chain.domain.wire import Output, Spent, assemble, parse_transaction
from tests.chain.chainsim import BITS, SimNode, ground
from tests.chain.faults import Killed, MortalStore
from tests.chain.world import (
    ADDRESS,
    ANNA,
    BERT,
    CARA,
    OUTSIDE,
    RULES,
    SEED,
    Rig,
    fund,
    open_rig,
    opened_store,
    script_of,
)

MAIN, REGTEST = CONSENSUS[Network.MAIN], CONSENSUS[Network.REGTEST]


# money


async def test_a_withdrawal_half_unmined_in_a_crash_is_not_left_confirmed(
    sim: SimNode, tmp_path: Path
) -> None:
    """Its transaction is then given up with somebody else's deposit: other coins must pay it."""
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim)
        await fund(rig, sim, ANNA, 10_000)
        sim.fund(await script_of(rig, BERT), 50_000, faucet=900)
        sim.mine()
        await rig.sync()
        ask = rig.desk.requests.withdraw
        asked = [(await ask(uuid7(), ANNA, ADDRESS, Sats(sats))).id for sats in (1_000, 2_000)]
        await rig.desk.pay()
        sim.mine()
        await rig.sync()
        mortal = MortalStore(store)
        await rig.live_on(mortal)
        sim.rewind(2)
        sim.evict(sim.sent[0])
        sim.fund(p2pkh(bytes(20)), 50_000, faucet=900)
        sim.mine(3)
        mortal.dies_at("withdrawals", behind=False)
        with pytest.raises(Killed):
            await rig.sync()
        await rig.live_on(store)
        for _ in range(4):
            await rig.sync()
            await rig.desk.pay()
            sim.mine()
        found = [(await rig.desk.withdrawals.get(one))[0].state for one in asked]
        assert sorted(sim.paid(p2pkh(OUTSIDE))) == [1_000, 2_000]
        assert found == [WithdrawalState.CONFIRMED] * 2
        await rig.balanced()


class LateIndex(SimNode):
    """Tells of the first block's contents late and once, as an index does that came to know of them late."""

    def __init__(self) -> None:
        super().__init__()
        self.told: set[BlockHash] = set()

    async def findings(self, block: Block, interest: Interest) -> Findings:
        return Findings()

    async def overlooked(
        self, blocks: Sequence[Block], interest: Interest, *, afresh: bool
    ) -> Mapping[BlockHash, Findings]:
        if afresh:
            self.told.clear()
        late = {block.hash: await super(LateIndex, self).findings(block, interest) for block in blocks}
        late = {hash_: found for hash_, found in late.items() if hash_ not in self.told}
        self.told |= set(late)
        return late


async def test_what_an_index_tells_late_is_not_lost_with_an_answer_of_the_ledger(tmp_path: Path) -> None:
    sim = LateIndex()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim)
        sim.fund(await script_of(rig, ANNA), 50_000)
        sim.fund(await script_of(rig, BERT), 40_000)
        sim.mine()
        rig.ledger.lose_answers = 1
        with pytest.raises(RemoteFailure):
            await rig.sync()
        await rig.sync()
        assert (rig.balance(ANNA), rig.balance(BERT)) == (50_000, 40_000)
        asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
        await rig.desk.pay()
        sim.mine()
        rig.ledger.lose_answers = 1
        with pytest.raises(RemoteFailure):
            await rig.sync()
        await rig.sync()
        assert (await rig.desk.withdrawals.get(asked.id))[0].state is WithdrawalState.CONFIRMED
        await rig.balanced()


async def test_a_rejection_cut_short_whose_transaction_is_mined_stops_the_wallet_only(
    rig: Rig, sim: SimNode
) -> None:
    await fund(rig, sim, ANNA, 50_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    tx = await rig.desk.withdrawals.batch()
    assert tx is not None
    sim.sends = ["refuse"]
    rig.ledger.lose_answers = 1
    with pytest.raises(RemoteFailure):
        await rig.desk.sender.send(tx.plan)
    assert rig.desk.books.txs[tx.plan].value.state is TxState.REJECTED
    raw = parse_transaction(tx.raw)
    sim.pool[raw.txid] = raw
    sim.mine()
    while await rig.desk.follower.follow():
        pass
    await rig.desk.reader.catch_up()
    assert "given up" in rig.desk.wallet.frozen


class DoubleTongued(SimNode):
    """Says that a transaction is invalid, and keeps it."""

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        sent = await super().send(raw, spent)
        lies, self.lies = self.lies, False
        return Sent(Broadcast.REJECTED, "16: mandatory-script-verify-flag-failed") if lies else sent

    lies = True


async def test_who_calls_a_payment_invalid_and_keeps_it_does_not_have_it_made_twice(tmp_path: Path) -> None:
    sim = DoubleTongued()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim)
        await fund(rig, sim, ANNA, 50_000)
        await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
        await rig.desk.pay()
        larger = sim.fund(await script_of(rig, BERT), 90_000)
        sim.mine(only=[larger.txid])
        await rig.sync()
        await rig.restart()
        await rig.desk.pay()
        sim.mine(2)
        await rig.sync()
        assert sim.paid(p2pkh(OUTSIDE)) == [1_000]
        assert "given up" in rig.desk.wallet.frozen


async def test_a_refused_withdrawal_is_not_made_again_at_once(rig: Rig, sim: SimNode) -> None:
    """Else three refusals within a moment, as of a node that is full, would end all that wait."""
    await fund(rig, sim, ANNA, 50_000)
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    sim.sends = ["full"] * 3
    await rig.desk.pay()
    assert (await rig.desk.withdrawals.get(asked.id))[0].state is WithdrawalState.QUEUED
    assert len(sim.sends) == 2


async def test_nothing_is_credited_in_a_block_that_has_left_the_chain(sim: SimNode, tmp_path: Path) -> None:
    """However high the other branch is."""
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim, rules=replace(RULES, confirmations_needed=3))
        await fund(rig, sim, ANNA, 50_000)
        sim.rewind(1)
        sim.pool.clear()
        sim.mine(6)
        while await rig.desk.follower.follow():
            pass
        await rig.desk.deposits.credit_due()  # as the reader does, before it comes to undo
        assert rig.balance(ANNA) == 0
        await rig.sync()
        assert (rig.balance(ANNA), rig.ledger.credits) == (0, {})


async def test_sales_of_one_title_move_it_in_their_order(rig: Rig, sim: SimNode) -> None:
    """Also when what was too little for the first is enough a moment later."""
    await fund(rig, sim, FLOAT_USER, 50_000)
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(TitleBody(meme, ANNA, "a meme", "image/png", b"png", "00" * 32))
    await rig.desk.write_next()
    for buyer in (BERT, CARA):
        await rig.desk.titles.transfer(uuid7(), meme, buyer)
    make, answers = rig.desk.float_.make, [None]

    async def once_too_low(order: Order) -> Tx | None:
        return answers.pop() if answers else await make(order)

    rig.desk.float_.make = once_too_low  # type: ignore[method-assign]
    while await rig.desk.write_next() or rig.desk.titles.queued:
        pass
    assert (await rig.desk.titles.get(meme)).title.owner_id == CARA


# what stops it


async def test_a_payment_of_more_than_there_is_is_none(rig: Rig, sim: SimNode) -> None:
    """An index proves nothing of what waits: such a transaction may be made up."""
    paying = await script_of(rig, ANNA)
    for sats in (2**64 - 1, 2**63, SATS_MAX + 1):
        raw = assemble(
            [Spent(Outpoint(Txid("11" * 32), 0), Sats(1), b"")], [b""], [Output(Sats(sats), paying)]
        )
        await rig.desk.mempool.take([raw])
    assert rig.news.deposits == []


def test_long_chains_of_unmined_change_are_measured(rig: Rig) -> None:
    """A deep reorganisation makes them longer than DEPTH_MAX lets them grow."""
    books, before = rig.desk.books, "00" * 32
    for number in range(1, 3_000):
        txid = Txid(f"{number:064x}")
        tx = Tx(PlanId(uuid7()), Purpose.WALLET, TxState.REORGANISED, txid, inputs=(f"{before}_0",))
        books.remember(Kept(tx, 1))
        before = txid
    assert books.depth(Txid(before)) == 2_999


@pytest.mark.parametrize("rate", [100, 500, 1_000, 100_000])
@pytest.mark.parametrize("outputs", [1, 251, 252, 253, 1_000])
def test_no_change_that_is_too_small_breaks_the_rule_of_fees(rate: int, outputs: int) -> None:
    keys = KeyRing(SEED, Network.REGTEST)
    paid = [Output(Sats(200), p2pkh(OUTSIDE))] * outputs
    fee = fee_for(size_max(1, paid), rate)
    for over in range(20 + fee_for(40, rate)):
        coin = Spendable(
            Outpoint(Txid("11" * 32), 0), Sats(200 * outputs + fee + over), FLOAT, keys.key(FLOAT).script
        )
        check(draft(paid, [coin], ChangeRule(keys.key(FLOAT).script), rate), rate, 20)


# what makes it lie


def test_a_chain_that_is_made_up_cannot_begin_with_easy_blocks() -> None:
    """Neither above a real header, nor by the heights that a source tells."""
    consensus = replace(MAIN, limit=REGTEST.limit, start_limit=REGTEST.limit // 2)
    first = ground(replace(MAIN.genesis, version=2, bits=0x203FFFFF))
    easy = ground(replace(first, previous_hash=first.hash, bits=BITS, time_s=first.time_s + 1))
    for height in (1_000, 900_000):
        with pytest.raises(BadHeader, match="easier than this chain has been"):
            HeaderChain.begin([easy], height, consensus, 10**18 * 2)
        with pytest.raises(BadHeader, match="easier than this chain has been"):
            HeaderChain.begin([first, easy], height, consensus, 10**18 * 2)


@pytest.mark.parametrize("spent", [False, True])
async def test_custody_tells_of_a_coin_that_a_stranger_spent(rig: Rig, sim: SimNode, spent: bool) -> None:
    await fund(rig, sim, ANNA, 10_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    if spent:
        assert await rig.desk.withdrawals.batch() is not None
    [point] = [point for point, kept in rig.desk.books.coins.items() if kept.value.sats == 10_000]
    raw = assemble([Spent(point, Sats(10_000), b"")], [b"\x51"], [Output(Sats(9_000), b"\x51")])
    stranger = parse_transaction(raw)
    sim.pool[stranger.txid] = stranger
    sim.mine()
    await rig.sync()
    assert rig.desk.wallet.frozen
    assert (await rig.custody()).difference_sats == -10_000
    await rig.restart()
    assert (await rig.custody()).difference_sats == -10_000
    if not spent:
        with pytest.raises(WalletEmpty):
            rig.desk.wallet.draft(Order(Purpose.WALLET, (), (Output(Sats(1_000), p2pkh(OUTSIDE)),), nothing))
    sim.rewind(1)
    sim.evict(stranger.txid)
    sim.mine(2)
    await rig.sync()
    await rig.balanced()


async def test_what_no_miner_takes_is_not_made_without_end(rig: Rig, sim: SimNode) -> None:
    """One poisoned inscription would fill the records, and the ledger, as fast as the machine can."""
    await fund(rig, sim, FLOAT_USER, 50_000)
    memes = [MemeId(uuid7()) for _ in range(2)]
    sim.sends = ["full"] * 2
    for meme in memes:
        await rig.desk.titles.inscribe(TitleBody(meme, ANNA, "a meme", "image/png", b"png", "00" * 32))
        assert await rig.desk.write_next()
    await rig.desk.results.record(uuid7(), '{"round":1}')
    assert await rig.desk.write_next()  # nobody else waits
    assert not await rig.desk.write_next()
    assert (rig.desk.titles.queued, rig.desk.results.queued) == (2, 0)


class Endless:
    """An index whose history of an address has pages without end, each as long as may be."""

    name = "WhatsOnChain"

    def __init__(self, address: str) -> None:
        self.asked = 0
        entry = {"tx_hash": "11" * 32, "height": 5}
        page = {"address": address, "result": [entry] * 5_000, "nextPageToken": "more"}
        self._one, self._many = json.dumps(page).encode(), json.dumps([page]).encode()

    async def post(self, path: str, body: object) -> Answer:
        return Answer(200, self._many)

    async def get(self, path: str) -> Answer:
        self.asked += 1
        return Answer(200, self._one)


async def test_a_history_without_end_does_not_fill_memory() -> None:
    source = Endless(ADDRESS)
    histories = Histories(cast("HttpSource", source), Network.REGTEST, SystemClock())
    with pytest.raises(NodeUnavailable):
        await histories.confirmed([p2pkh(OUTSIDE)], BlockHash("22" * 32), 1)
    assert source.asked == 1


async def test_deposits_long_gone_are_not_asked_for_again(rig: Rig, sim: SimNode) -> None:
    """Anybody can make any number of them. Should one be mined after all, its block tells."""
    tx = sim.fund(await script_of(rig, ANNA), 5_000)
    await rig.mempool()
    sim.pool.clear()
    await rig.desk.tend()
    sim.mine(GONE_BLOCKS + 1)
    await rig.sync()
    asked, waiting = list[Txid](), sim.waiting

    async def listened(txids: Sequence[Txid]) -> set[Txid]:
        asked.extend(txids)
        return await waiting(txids)

    sim.waiting = listened  # type: ignore[method-assign]
    await rig.desk.tend()
    assert asked == []
    sim.pool[tx.txid] = tx
    sim.mine()
    await rig.sync()
    assert rig.balance(ANNA) == 5_000


async def test_the_lowest_of_a_long_chain_can_be_given_up(rig: Rig) -> None:
    """However long: the stack is made lower here rather than the chain longer."""
    txids = [Txid(f"{number:064x}") for number in range(400)]
    for before, txid in pairwise(txids):
        tx = Tx(PlanId(uuid7()), Purpose.WALLET, TxState.REORGANISED, txid, inputs=(f"{before}_0",))
        rig.desk.books.remember(await rig.desk.books.records.txs.create(tx))
    lowest = rig.desk.books.tx_of(txids[1])
    assert lowest is not None
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(350)
    try:
        await rig.desk.rejecting.reject(lowest.value, "its deposit is gone")
    finally:
        sys.setrecursionlimit(limit)
    assert rig.desk.books.live() == []
