"""The chain moves, or somebody says it did: what is believed, what is undone, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from satreel.chain.v1 import chain_pb2, chain_service_pb2

from mesh.ids import uuid7
from mesh.records import Store
from mesh.records.memory import MemoryStore
from services.chain.app.freshness import Freshness
from services.chain.app.headers import TIP
from services.chain.app.ports import Found, UndoneView
from services.chain.app.records import SETS, Records
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.entities import TitleBody
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import CoinState, DepositState, TxState, WithdrawalState
from services.chain.domain.values import FLOAT_USER, BlockHash, MemeId, Network, Sats
from services.chain.rpc import mapping
from tests.chain.chainsim import SimNode, ground
from tests.chain.faults import Killed, MortalStore
from tests.chain.world import ADDRESS, ANNA, BERT, OUTSIDE, RULES, Node, Rig, fund, open_rig

# A source that lies


class Liar:
    """A node that tells the header of its best block, and of one it made up, in its own way."""

    def __init__(self, sim: SimNode, lie: Callable[[Found], Found]) -> None:
        self._sim = sim
        self.lie = lie
        self.made_up: dict[BlockHash, Found] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim, name)

    async def best(self) -> BlockHash:
        found = self.lie(cast("Found", await self._sim.header(self._sim.tip)))
        self.made_up[found.header.hash] = found
        return found.header.hash

    async def header(self, block_hash: BlockHash) -> Found | None:
        return self.made_up.get(block_hash) or await self._sim.header(block_hash)


def another(**fields: Any) -> Callable[[Found], Found]:
    """A lie: the best block's header with other fields, and with the work that these ask for."""
    return lambda found: replace(found, header=ground(replace(found.header, **fields)))


def other_height(by: int) -> Callable[[Found], Found]:
    return lambda found: replace(found, height=found.height + by)


def without_work(found: Found) -> Found:
    nonce = 0
    header = replace(found.header, nonce=nonce)
    while int(header.hash, 16) < 1 << 255:
        nonce += 1
        header = replace(header, nonce=nonce)
    return replace(found, header=header)


LIES = {
    "without work": (without_work, "proof of work"),
    "above the limit": (another(bits=0x2100_8000), "proof of work"),
    "too easy for the chain": (another(bits=0x207F_FFFE), "difficulty"),
    "too old": (another(time_s=1_700_000_000), "median time"),
    "higher than it is": (other_height(1), "heights"),
    "lower than it is": (other_height(-1), "heights"),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_header_that_cannot_be_true_changes_nothing(
    rig: Rig, sim: SimNode, store: Store, name: str
) -> None:
    sim.mine(12)
    await rig.sync()
    tip, told = rig.desk.books.chain.tip, rig.news.switches[:]
    pointer = await rig.world.records.pointers.get(TIP)
    sim.mine()
    lie, why = LIES[name]
    rig.desk.follower._node = cast("Node", Liar(sim, lie))
    with pytest.raises(SourceLies, match=why) as refused:
        await rig.desk.follower.follow()
    assert refused.value.reason == "SOURCE_LIES"
    assert rig.desk.books.chain.tip == tip
    assert await rig.world.records.pointers.get(TIP) == pointer
    assert rig.news.switches == told
    rig.desk.follower._node = sim
    await rig.sync()
    assert rig.desk.books.chain.tip.hash == sim.tip


async def test_another_header_than_was_asked_for_is_refused(rig: Rig, sim: SimNode) -> None:
    sim.mine(2)
    other, header = await sim.header(rig.desk.books.chain.tip.hash), sim.header

    async def mixed_up(block_hash: BlockHash) -> Found | None:
        return other if block_hash == sim.tip else await header(block_hash)

    sim.header = mixed_up  # type: ignore[method-assign]
    with pytest.raises(SourceLies, match="asked for block"):
        await rig.desk.follower.follow()


async def test_a_header_ahead_of_our_clock_is_waited_for(rig: Rig, sim: SimNode) -> None:
    sim.mine()
    ahead = rig.world.clock.now_ns() // 10**9 + 3 * 60 * 60
    rig.desk.follower._node = cast("Node", Liar(sim, another(time_s=ahead)))
    with pytest.raises(NodeUnavailable, match="ahead of our clock") as refused:
        await rig.desk.follower.follow()
    assert not isinstance(refused.value, SourceLies)


async def test_the_first_start_needs_the_networks_own_chain(store: Store) -> None:
    with pytest.raises(SourceLies, match="genesis block"):
        await open_rig(store, SimNode(salt=5))
    sim = SimNode()
    sim.mine(3)
    for lie in (without_work, other_height(1)):
        with pytest.raises(SourceLies):
            await open_rig(store, cast("Node", Liar(sim, lie)))
    assert await Records(store).pointers.get(TIP) is None
    assert (await open_rig(store, sim)).desk.books.chain.tip.hash == sim.tip


# Two tips, a source that stops, one that lags


async def test_of_two_tips_with_the_same_work_the_first_seen_stays_and_the_other_is_shown(
    rig: Rig, sim: SimNode
) -> None:
    sim.mine(2)
    await rig.sync()
    ours, freshness = sim.tip, rig.desk.freshness
    sim.rewind(1)
    sim.condemned.clear()  # it is valid: that node only saw the other one first
    other = sim.mine()
    await rig.sync()
    assert rig.desk.books.chain.tip.hash == ours
    shown = mapping.tip(rig.desk.books.chain, freshness)
    assert (shown.block.hash, shown.rival.hash, shown.stale) == (ours, other, False)
    # Our own is known as the best one again: the other is still there.
    sim.tip = ours
    await rig.sync()
    assert freshness.rival is not None
    # The next block decides.
    sim.tip = other
    last = sim.mine()
    await rig.sync()
    assert rig.desk.books.chain.tip.hash == last
    shown = mapping.tip(rig.desk.books.chain, freshness)
    assert (shown.block.hash, shown.HasField("rival")) == (last, False)


async def test_sources_at_different_heights_only_ever_move_us_forward(rig: Rig, sim: SimNode) -> None:
    tips = [sim.mine() for _ in range(5)]
    for tip in (tips[3], tips[1], tips[4], tips[0], tips[4]):
        sim.tip = tip
        await rig.sync()
    assert [switch.connected[-1].hash for _, switch in rig.news.switches] == [tips[3], tips[4]]
    assert all(not switch.orphaned for _, switch in rig.news.switches)


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0
        self.set_by_s = 0

    def now_ns(self) -> int:
        return int((self.seconds + self.set_by_s) * 10**9)

    def monotonic_s(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


async def test_a_tip_that_nobody_confirms_becomes_stale(
    rig: Rig, sim: SimNode, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, chain = Hands(), rig.desk.books.chain
    freshness = Freshness(chain=chain, clock=clock, stale_s=60.0)
    rig.desk.follower._freshness = freshness
    assert not mapping.tip(chain, freshness).HasField("confirmed_at")
    await rig.desk.follower.follow()
    at = mapping.tip(chain, freshness).confirmed_at.seconds

    async def wait(seconds: float) -> bool:
        clock.seconds += seconds
        with suppress(NodeUnavailable):
            await rig.desk.follower.follow()
        await freshness.look()
        return mapping.tip(chain, freshness).stale

    assert at == 1_800_000_000
    sim.down = True
    assert (await wait(60.0), await wait(0.1), await wait(50.0)) == (False, True, True)
    assert capsys.readouterr().out.count("the tip is stale") == 1
    sim.down = False
    assert not await wait(1.0)
    assert "the tip is confirmed again" in capsys.readouterr().out
    # A source behind us confirms nothing.
    sim.rewind(1)
    assert (await wait(30.0), await wait(31.0)) == (False, True)


async def test_no_tip_stays_fresh_because_the_clock_is_set_back(rig: Rig) -> None:
    clock = Hands()
    freshness = Freshness(chain=rig.desk.books.chain, clock=clock, stale_s=60.0)
    freshness.confirm()
    clock.set_by_s = -3_600
    clock.seconds += 61
    assert freshness.stale


async def test_on_mainnet_a_block_that_is_hours_overdue_makes_the_tip_stale(rig: Rig, sim: SimNode) -> None:
    clock = Hands()
    freshness = Freshness(chain=rig.desk.books.chain, clock=clock, stale_s=60.0)
    overdue = CONSENSUS[Network.MAIN].overdue_s
    assert overdue is not None
    for consensus, stale in ((CONSENSUS[Network.REGTEST], False), (CONSENSUS[Network.MAIN], True)):
        rig.desk.books.chain.consensus = consensus
        clock.seconds += overdue + 1
        freshness.confirm()
        assert freshness.stale is stale


# What is undone, and told


def undone(rig: Rig) -> list[UndoneView]:
    return [one for one in rig.news.subjects if isinstance(one, UndoneView)]


MEME, SALE, ROUND, WITHDRAWAL = MemeId(uuid7()), uuid7(), uuid7(), uuid7()


async def everything(rig: Rig, sim: SimNode) -> None:
    """One block with a deposit, a withdrawal, an inscription, its move and a record."""
    await fund(rig, sim, FLOAT_USER, 100_000)
    await fund(rig, sim, BERT, 50_000)
    await rig.desk.requests.withdraw(WITHDRAWAL, BERT, ADDRESS, Sats(5_000))
    await rig.desk.pay()
    await rig.desk.titles.inscribe(TitleBody(MEME, BERT, "A cat", "image/png", b"png", "ab" * 32))
    await rig.desk.write_next()
    await rig.desk.titles.transfer(SALE, MEME, ANNA)
    await rig.desk.results.record(ROUND, '{"round":1}')
    while await rig.desk.write_next():
        pass
    await fund(rig, sim, ANNA, 20_000)


async def test_the_list_of_what_is_undone_is_exact(rig: Rig, sim: SimNode) -> None:
    await everything(rig, sim)
    [deposit] = await rig.desk.deposits.listed(ANNA, "", 10)
    block = sim.rewind(1)
    sim.mine(only=())
    sim.mine(only=())
    await rig.sync()
    [view] = undone(rig)
    event = chain_service_pb2.ChainEvent.FromString(mapping.chain_event("x", 1, view)).undone
    assert (event.block_hash, event.block_height) == (block, deposit.block_height)
    assert (event.part, event.last) == (1, True)
    [gone] = event.deposits
    assert (gone.deposit_id, gone.user_id, gone.amount_sats) == (deposit.id, ANNA, 20_000)
    assert (gone.txid, gone.vout) == (deposit.outpoint.txid, deposit.outpoint.vout)
    assert list(rig.ledger.reversals.values()) == [gone.credit_id]
    by_purpose = {one.purpose: one for one in event.transactions}
    assert list(by_purpose[chain_pb2.PURPOSE_WITHDRAWAL].withdrawal_ids) == [WITHDRAWAL]
    assert by_purpose[chain_pb2.PURPOSE_INSCRIPTION].meme_id == MEME
    moved = by_purpose[chain_pb2.PURPOSE_TITLE_TRANSFER]
    assert (moved.meme_id, moved.sale_id) == (MEME, SALE)
    assert by_purpose[chain_pb2.PURPOSE_RESULT].round_id == ROUND
    assert len(event.transactions) == 4
    assert await rig.world.records.undos.all() == []
    await rig.balanced()


async def test_blocks_without_any_of_ours_are_undone_in_silence(rig: Rig, sim: SimNode) -> None:
    """A block may hold nothing but its coinbase."""
    sim.mine(3)
    await rig.sync()
    sim.rewind(3)
    sim.mine(4)
    await rig.sync()
    assert undone(rig) == []
    assert (len(rig.news.switches[-1][1].orphaned), rig.desk.books.chain.tip.hash) == (3, sim.tip)


async def test_a_crash_anywhere_in_a_reorganisation_changes_nothing_of_the_outcome() -> None:
    at, outcomes = 0, set()
    while True:
        sim = SimNode()
        store = MemoryStore(SETS)
        rig = await open_rig(store, sim)
        await everything(rig, sim)
        spent = await rig.desk.deposits.listed(ANNA, "", 10)
        block = sim.rewind(1)
        sim.evict(spent[0].outpoint.txid)
        sim.mine(2)
        mortal = MortalStore(store, at=at)
        rig.world = replace(rig.world, records=Records(mortal))
        await rig.restart()
        try:
            await rig.sync()
            died = False
        except* Killed:
            died = True
        await mortal.at_rest()
        rig.world = replace(rig.world, records=Records(store))
        await rig.restart()
        await rig.sync()
        await rig.balanced()
        told = {
            (view.undo.key, view.undo.deposits, view.undo.txs)
            for view in undone(rig)
            if view.undo.block_hash == block
        }
        assert len(told) == 1, at
        [(_, deposits, txs)] = told
        found, _ = await rig.desk.withdrawals.get(WITHDRAWAL)
        [gone] = await rig.desk.deposits.listed(ANNA, "", 10)
        outcomes.add(
            (
                len(deposits),
                len(txs),
                len(rig.ledger.reversals),
                rig.balance(ANNA),
                rig.balance(BERT) + found.share_sats,
                found.state,
                gone.state,
            )
        )
        at += 1
        if not died:
            break
    assert at > 20
    assert outcomes == {(1, 4, 1, 0, 45_000, WithdrawalState.CONFIRMED, DepositState.REVERSED)}


# Deeper than final


async def final_withdrawal(rig: Rig, sim: SimNode) -> BlockHash:
    """A withdrawal from a deposit, both final; the hash of the block before them."""
    before = sim.tip
    await fund(rig, sim, ANNA, 50_000)
    await rig.desk.requests.withdraw(WITHDRAWAL, ANNA, ADDRESS, Sats(5_000))
    await rig.desk.pay()
    sim.mine(RULES.final_depth + 2)
    await rig.sync()
    [tx] = await rig.world.records.txs.all()
    assert tx.value.state is TxState.FINAL
    return before


@pytest.mark.parametrize("restart", [False, True])
async def test_a_final_transaction_whose_block_is_orphaned_is_open_again_and_mined_again(
    rig: Rig, sim: SimNode, restart: bool
) -> None:
    before = await final_withdrawal(rig, sim)
    balance = rig.balance(ANNA)
    depth = rig.desk.books.chain.tip.height - sim.blocks[before].block.height
    sim.rewind(depth)
    sim.mine(depth + 1, only=())
    if restart:
        await rig.restart()
    await rig.sync()
    if restart:
        await rig.restart()
    [kept] = rig.desk.books.txs.values()
    assert kept.value.state is TxState.SEEN
    assert {view.undo.height for view in undone(rig)} == {
        sim.blocks[before].block.height + 1,
        sim.blocks[before].block.height + 2,
    }
    await rig.balanced()
    sim.mine()
    await rig.sync()
    assert sim.paid(p2pkh(OUTSIDE)) == [5_000]
    assert rig.balance(ANNA) == balance
    found, _ = await rig.desk.withdrawals.get(WITHDRAWAL)
    assert found.state is WithdrawalState.CONFIRMED
    sim.mine(RULES.final_depth)
    await rig.sync()
    assert (await rig.world.records.txs.all())[0].value.state is TxState.FINAL
    await rig.balanced()


async def test_a_deposit_below_a_final_withdrawal_is_spent_elsewhere_by_the_new_chain(
    rig: Rig, sim: SimNode
) -> None:
    before = await final_withdrawal(rig, sim)
    [deposit] = await rig.desk.deposits.listed(ANNA, "", 10)
    sim.rewind(rig.desk.books.chain.tip.height - sim.blocks[before].block.height)
    sim.evict(deposit.outpoint.txid)
    sim.mine(RULES.final_depth + 10)
    await rig.sync()
    assert rig.balance(ANNA) == 0
    for _ in range(3):
        await rig.desk.tend()
        sim.mine()
        await rig.sync()
    found, _ = await rig.desk.withdrawals.get(WITHDRAWAL)
    [gone] = await rig.desk.deposits.listed(ANNA, "", 10)
    assert (found.state, gone.state) == (WithdrawalState.FAILED, DepositState.REVERSED)
    assert (rig.balance(ANNA), rig.ledger.holds, sim.paid(p2pkh(OUTSIDE))) == (0, {}, [])
    coins = {kept.value.state for kept in await rig.world.records.coins.all()}
    assert coins == {CoinState.GONE}
    await rig.balanced()


async def test_a_crash_while_a_final_transaction_is_opened_leaves_it_final_or_open() -> None:
    at = 0
    died = True
    while died:
        sim = SimNode()
        store = MemoryStore(SETS)
        rig = await open_rig(store, sim)
        before = await final_withdrawal(rig, sim)
        depth = rig.desk.books.chain.tip.height - sim.blocks[before].block.height
        sim.rewind(depth)
        sim.mine(depth + 1)
        mortal = MortalStore(store, at=at)
        rig.world = replace(rig.world, records=Records(mortal))
        await rig.restart()
        died = False
        try:
            await rig.sync()
        except* Killed:
            died = True
        await mortal.at_rest()
        rig.world = replace(rig.world, records=Records(store))
        await rig.restart()
        await rig.sync()
        await rig.balanced()
        found, _ = await rig.desk.withdrawals.get(WITHDRAWAL)
        assert found.state is WithdrawalState.CONFIRMED, at
        assert rig.balance(ANNA) == 45_000 - found.share_sats
        assert sim.paid(p2pkh(OUTSIDE)) == [5_000]
        at += 1
    assert at > 20
