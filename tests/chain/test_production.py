"""As in production: read from WhatsOnChain, sent through ARC, WhatsOnChain in reserve; through bad days.

Over the real node: deposits, withdrawals, reorganisations. Each satoshi is where it should be.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from mesh.clock import ManualClock, SystemClock
from mesh.ids import uuid7
from sandbox.explorers.faults import Fault, Faults
from sandbox.regtest import Regtest
from sandbox.rpc import sats_of
from services.chain.adapters.callbacks import Callbacks, open_callbacks
from services.chain.app.sources import Broadcasters, Readers
from services.chain.app.trust import LIED_S, Trust
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.entities import Withdrawal
from services.chain.domain.failures import NodeUnavailable
from services.chain.domain.states import DepositState, TxState, WithdrawalState
from services.chain.domain.values import Network, Sats, Txid
from tests.chain.outside import Outside, hints_now
from tests.chain.world import ANNA, Rig, open_rig, opened_store

TOKEN = "callbacks-are-ours"
PATIENCE_S = 60


@dataclass
class Production:
    """The chain service in this process, and what it stands on."""

    rig: Rig
    outside: Outside
    regtest: Regtest
    trust: Trust
    trust_clock: ManualClock
    callbacks: Callbacks
    callback_url: str

    @property
    def faults(self) -> Faults:
        return self.outside.faults

    async def deposit(self, sats: int) -> str:
        """Paid, mined and credited."""
        coin = await self.regtest.fund(await self.rig.address(ANNA), sats)
        await self.mine()
        return coin.txid

    async def mine(self, blocks: int = 1) -> None:
        await self.regtest.mine(blocks)
        await self.rig.sync()

    async def withdraw(self, sats: int) -> tuple[Withdrawal, str]:
        """Asked for, and paid as far as that goes."""
        to = await self.regtest.rpc.text("getnewaddress")
        asked = await self.rig.desk.requests.withdraw(uuid7(), ANNA, to, Sats(sats))
        await self.rig.desk.pay()
        return asked, to

    async def state(self, asked: Withdrawal) -> tuple[WithdrawalState, TxState | None]:
        found, tx = await self.rig.desk.withdrawals.get(asked.id)
        return found.state, tx.state if tx else None

    async def txid(self, asked: Withdrawal) -> Txid:
        return (await self.rig.desk.withdrawals.get(asked.id))[0].txid

    async def received(self, to: str) -> int:
        return sats_of(await self.regtest.rpc.call("getreceivedbyaddress", to, 1))

    async def hinted(self, *wanted: Txid) -> list[Txid]:
        """Waits for what ARC has to say, and for hints of these; follows all that came, as the desk does."""
        found: list[Txid] = []
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.outside.explorers.called_back()
                found += await hints_now(self.callbacks)
                if set(wanted) <= set(found):
                    break
                await asyncio.sleep(0.01)
        for txid in found:
            await self.rig.desk.sender.look(txid)
        return found


@pytest_asyncio.fixture
async def house(outside: Outside, regtest: Regtest, tmp_path: Path) -> AsyncIterator[Production]:
    trust_clock = ManualClock()
    trust = Trust(trust_clock, lambda name, usable: None)
    async with (
        open_callbacks("127.0.0.1:0", TOKEN) as (callbacks, url),
        opened_store(tmp_path / "chain.sqlite") as store,
    ):
        asked = {"X-CallbackUrl": url, "X-CallbackToken": TOKEN, "X-FullStatusUpdates": "true"}
        rig = await open_rig(store, outside.node, seed=secrets.token_bytes(64))
        arc, woc = outside.arc(asked), outside.woc_sender()
        rig.world = replace(
            rig.world,
            reader=Readers({"whatsonchain": outside.reader()}, trust, CONSENSUS[Network.REGTEST]),
            broadcaster=Broadcasters({"arc": arc, "whatsonchain.sending": woc}, trust, SystemClock()),
            hints=callbacks,
        )
        await rig.restart()
        yield Production(rig, outside, regtest, trust, trust_clock, callbacks, url)


async def test_money_comes_in_and_goes_out(house: Production) -> None:
    await house.deposit(100_000)
    assert house.rig.balance(ANNA) == 100_000
    asked, to = await house.withdraw(30_000)
    assert await house.state(asked) == (WithdrawalState.SENT, TxState.SEEN)
    await house.rig.balanced()
    await house.mine()
    assert await house.state(asked) == (WithdrawalState.CONFIRMED, TxState.MINED)
    assert await house.received(to) == 30_000
    await house.rig.balanced()


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        (Fault.ANSWER_LOST, "POST */v1/tx"),
        (Fault.RESET, "POST */v1/tx"),
        (Fault.HTML, "POST */v1/tx"),
        (Fault.HTTP_429, "POST */v1/tx"),
        (Fault.PROBLEM, "POST */v1/tx"),
        (Fault.SWALLOW, "POST */v1/tx"),
    ],
)
async def test_whatever_happens_to_the_sending_it_is_paid_once(
    house: Production, kind: Fault, at: str
) -> None:
    await house.deposit(100_000)
    house.faults.add(kind, at=at, times=None if kind is Fault.SWALLOW else 1)
    asked, to = await house.withdraw(30_000)
    for _ in range(2):
        await house.rig.desk.tend()
    assert await house.state(asked) == (WithdrawalState.SENT, TxState.SEEN)
    await house.mine()
    assert (await house.state(asked))[0] is WithdrawalState.CONFIRMED
    assert await house.received(to) == 30_000
    await house.rig.balanced()


async def test_with_all_broadcasters_away_nothing_is_given_up_and_nothing_doubled(house: Production) -> None:
    await house.deposit(100_000)
    house.faults.add(Fault.ANSWER_LOST, at="POST */v1/tx")
    house.faults.add(Fault.RESET, at="POST */tx/raw")
    asked, to = await house.withdraw(30_000)  # ARC has it, and nobody knows
    assert await house.state(asked) == (WithdrawalState.SENT, TxState.SENT)
    await house.rig.restart()
    await house.rig.desk.tend()
    await house.mine()
    assert (await house.state(asked))[0] is WithdrawalState.CONFIRMED
    assert await house.received(to) == 30_000
    await house.rig.balanced()


async def test_a_no_of_one_alone_gives_no_money_back(house: Production) -> None:
    await house.deposit(100_000)
    house.faults.add(Fault.PROBLEM, status=461)
    house.faults.add(Fault.RESET, at="POST */tx/raw")
    asked, to = await house.withdraw(30_000)
    assert await house.state(asked) == (WithdrawalState.SENT, TxState.SENT)
    assert house.rig.available(ANNA) == 100_000 - 30_100
    await house.rig.desk.tend()
    await house.mine()
    assert (await house.state(asked))[0] is WithdrawalState.CONFIRMED
    assert await house.received(to) == 30_000
    await house.rig.balanced()


async def test_a_double_spend_attempt_is_contested_until_a_block_decides(house: Production) -> None:
    await house.deposit(100_000)
    house.faults.add(Fault.DOUBLE_SPEND)
    house.faults.add(Fault.CALLBACK_LOST, times=None)
    asked, to = await house.withdraw(30_000)
    assert await house.state(asked) == (WithdrawalState.SENT, TxState.CONTESTED)
    assert house.rig.available(ANNA) == 100_000 - 30_100
    await house.mine()
    assert await house.state(asked) == (WithdrawalState.CONFIRMED, TxState.MINED)
    assert await house.received(to) == 30_000
    await house.rig.balanced()


async def test_callbacks_lost_doubled_and_late_change_nothing(house: Production) -> None:
    await house.deposit(100_000)
    house.faults.add(Fault.CALLBACK_LOST, at="CALLBACK SEEN_ON_NETWORK", times=None)
    house.faults.add(Fault.CALLBACK_DOUBLED, at="CALLBACK MINED", times=None)
    asked, to = await house.withdraw(30_000)
    await house.hinted()
    await house.regtest.mine()
    heard = await house.hinted(await house.txid(asked))
    _, tx = await house.rig.desk.withdrawals.get(asked.id)
    assert tx is not None
    assert set(heard) == {tx.txid}
    assert tx.state is TxState.SEEN  # that it is mined its block says, and nobody else
    await house.rig.sync()
    assert await house.state(asked) == (WithdrawalState.CONFIRMED, TxState.MINED)
    await house.hinted()
    assert await house.received(to) == 30_000
    await house.rig.balanced()


async def test_callbacks_forged_and_replayed_are_only_reasons_to_ask(house: Production) -> None:
    await house.deposit(100_000)
    house.faults.add(Fault.CALLBACK_FORGED, times=None)
    asked, _ = await house.withdraw(30_000)
    assert await house.hinted() == []  # another token
    _, tx = await house.rig.desk.withdrawals.get(asked.id)
    assert tx is not None
    before = (await house.state(asked), house.rig.available(ANNA))
    async with aiohttp.ClientSession() as somebody:  # who got hold of the token
        for status in ("MINED", "REJECTED", "DOUBLE_SPEND_ATTEMPTED", "MINED"):
            body = {"txid": tx.txid, "txStatus": status, "blockHash": "00" * 32, "blockHeight": 1}
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with somebody.post(house.callback_url, json=body, headers=headers) as reply:
                assert reply.status == 200
        async with somebody.post(house.callback_url, json={"txid": "ab" * 32}, headers=headers) as reply:
            assert reply.status == 200
    assert await house.hinted() == [tx.txid, "ab" * 32]
    assert (await house.state(asked), house.rig.available(ANNA)) == before
    await house.rig.balanced()


async def test_a_hint_of_a_double_spend_is_believed_when_arc_says_so_itself(house: Production) -> None:
    await house.deposit(100_000)
    house.faults.add(Fault.DOUBLE_SPEND)
    asked, _ = await house.withdraw(30_000)
    await house.rig.desk.tend()
    await house.hinted(await house.txid(asked))
    _, tx = await house.rig.desk.withdrawals.get(asked.id)
    assert tx is not None
    assert tx.state is TxState.CONTESTED


@pytest.mark.parametrize("lie", [Fault.BAD_PROOF, Fault.BAD_WORK, Fault.BAD_LINK])
async def test_while_whatsonchain_lies_nothing_is_credited_and_afterwards_everything(
    house: Production, lie: Fault
) -> None:
    await house.regtest.fund(await house.rig.address(ANNA), 50_000)
    house.faults.add(lie, times=None)
    await house.regtest.mine()
    with pytest.raises(NodeUnavailable):
        await house.rig.sync()
    assert house.rig.ledger.credits == {}
    assert not house.trust.has("whatsonchain")
    house.faults.reset()
    with pytest.raises(NodeUnavailable, match="no source"):
        await house.rig.sync()
    await house.trust_clock.advance(LIED_S)
    await house.rig.sync()
    assert house.rig.balance(ANNA) == 50_000
    await house.rig.balanced()


async def test_a_deposit_that_the_index_knows_late_is_credited_late(house: Production) -> None:
    await house.regtest.fund(await house.rig.address(ANNA), 50_000)
    house.faults.add(Fault.BEHIND, at="*/addresses/confirmed/history")
    await house.mine()
    assert house.rig.balance(ANNA) == 0
    await house.mine()  # asked again with the next block
    assert house.rig.balance(ANNA) == 50_000
    [found] = await house.rig.desk.deposits.listed(ANNA, "", 10)
    assert found.block_height == await house.regtest.height() - 1
    # ... and undone with the block that it was found in too late.
    await house.regtest.invalidate(await house.regtest.rpc.text("getblockhash", found.block_height))
    await house.regtest.rpc.call("generatetoaddress", 3, await house.regtest.rpc.text("getnewaddress"))
    await house.rig.sync()
    [again] = await house.rig.desk.deposits.listed(ANNA, "", 10)
    assert (again.state, again.reversals, again.block_height) == (
        DepositState.CREDITED,
        1,
        found.block_height,
    )
    assert again.block_hash != found.block_hash
    assert house.rig.balance(ANNA) == 50_000
    await house.rig.balanced()


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_reorganisation_is_followed_and_paid_once(house: Production, depth: int) -> None:
    await house.deposit(100_000)
    asked, to = await house.withdraw(30_000)
    await house.mine(depth)
    assert (await house.state(asked))[0] is WithdrawalState.CONFIRMED
    fork = await house.regtest.height() - depth + 1
    await house.regtest.invalidate(await house.regtest.rpc.text("getblockhash", fork))
    await house.mine(depth + 1)
    await house.rig.desk.tend()
    await house.mine()
    assert (await house.state(asked))[0] is WithdrawalState.CONFIRMED
    assert await house.received(to) == 30_000
    assert (
        house.rig.available(ANNA) == 70_000 - (await house.rig.desk.withdrawals.get(asked.id))[0].share_sats
    )
    await house.rig.balanced()
