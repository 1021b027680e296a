"""Reorganisations of real nodes, beside the real ledger: it is as if the other branch had never been.

The reference is a second service and ledger, copied before the branches part, that only ever sees the one
that won.
"""

from __future__ import annotations

import asyncio
import copy
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from bsv.keys import PrivateKey
from satreel.ledger.v1 import ledger_service_pb2 as ledger_pb
from satreel.ledger.v1.ledger_service_pb2_grpc import (
    LedgerServiceStub,
    add_LedgerServiceServicer_to_server,
)

from mesh.clock import SystemClock
from mesh.errors import Code, RemoteFailure
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.records.memory import MemoryStore
from mesh.testing import serving
from sandbox.node import BsvNode, NodePorts, running_node
from sandbox.process import LOOPBACK, free_port
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc
from sandbox.wallet import Payment, Wallet
from services.chain.adapters.ledger import LedgerClient
from services.chain.adapters.node import open_node
from services.chain.app.custody import custody
from services.chain.app.desk import Desk
from services.chain.app.ports import UndoneView
from services.chain.app.records import SETS
from services.chain.domain.entities import TitleBody
from services.chain.domain.states import CoinState, DepositState, WithdrawalState
from services.chain.domain.values import COINS_ACCOUNT, FLOAT_USER, MemeId, Sats, account_of
from services.ledger.app.journal import Author
from services.ledger.app.ledger import Ledger
from services.ledger.rpc.servicer import LedgerServicer
from tests.chain.test_real_node import mined_elsewhere
from tests.chain.world import ANNA, BERT, CARA, RULES, Rig, open_rig
from tests.ledger.stores import MemoryStore as JournalRecords
from tests.ledger.stores import Told, journal_of

DEPTHS = (1, 2, 3, 6, 10, 14, 20)
WITHIN_S = 120.0


async def until(check: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S) -> None:
    async with asyncio.timeout(within_s):
        while not await check():
            await asyncio.sleep(0.02)


# Two nodes


@dataclass
class Pair:
    """Two nodes, joined or apart; `meeting` is where the first listens for the second."""

    one: Regtest
    two: Regtest
    meeting: str

    async def join(self) -> None:
        """Connects them, until both have the same best block."""
        async with asyncio.timeout(WITHIN_S):
            while not await self._agree():
                # A connection may come to nothing without a word.
                if not await self.two.rpc.call("getpeerinfo"):
                    await self.two.rpc.call("addnode", self.meeting, "onetry")
                with suppress(TimeoutError):
                    await until(self._agree, within_s=1.0)

    async def part(self) -> None:
        """Disconnects them."""
        await self.two.rpc.call("disconnectnode", self.meeting)
        await until(self._apart)

    async def _agree(self) -> bool:
        return await self.one.tip() == await self.two.tip()

    async def _apart(self) -> bool:
        return not await self.one.rpc.call("getpeerinfo") and not await self.two.rpc.call("getpeerinfo")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[BsvNode, BsvNode, str]]:
    ports = NodePorts(free_port(), free_port(), free_port()), NodePorts(free_port(), free_port())
    async with (
        running_node(tmp_path_factory.mktemp("node-1"), ports[0]) as one,
        running_node(tmp_path_factory.mktemp("node-2"), ports[1]) as two,
    ):
        yield one, two, f"{LOOPBACK}:{ports[0].p2p}"


@pytest_asyncio.fixture
async def pair(nodes: tuple[BsvNode, BsvNode, str]) -> AsyncIterator[Pair]:
    one, two, meeting = nodes
    async with NodeRpc(one.url) as first, NodeRpc(two.url) as second:
        yield Pair(Regtest(first), Regtest(second), meeting)


# The service beside a real ledger


@dataclass
class Side:
    """A chain service and its ledger, whose records can be copied as they stand."""

    rig: Rig
    records: MemoryStore
    journal: JournalRecords
    accounts: LedgerServiceStub
    client: LedgerClient

    async def account(self, name: str) -> tuple[int, int, int]:
        """Balance, holds and debt."""
        try:
            request = ledger_pb.GetAccountRequest(account_id=name, asset="sat")
            one = (await self.accounts.GetAccount(request)).account
        except RemoteFailure as unknown:
            if unknown.code is not Code.NOT_FOUND:
                raise
            return 0, 0, 0
        return one.balance, one.held, one.debt_sats

    async def state(self) -> dict[str, object]:
        """Everything that must be the same whatever was seen on the way here."""
        found: dict[str, object] = {}
        for account in (*map(account_of, (ANNA, BERT, CARA, FLOAT_USER)), COINS_ACCOUNT):
            found[account] = await self.account(account)
        desk = self.rig.desk
        for deposit in [kept.value for kept in await self.rig.world.records.deposits.all()]:
            if deposit.state is not DepositState.REVERSED:
                found[str(deposit.outpoint)] = (deposit.state, deposit.block_hash, deposit.sats)
        for tx in desk.books.live():
            found[tx.txid] = (tx.state, tx.block_hash, tx.due_sats, tx.cost_done)
        for coin in [kept.value for kept in desk.books.coins.values()]:
            if coin.state is not CoinState.GONE:
                found[f"coin {coin.outpoint}"] = (coin.state, coin.sats, coin.credited)
        held = await custody(desk.books, self.client)
        found["custody"] = (held.difference_sats, held.coins_sats, held.owed_sats)
        found["tip"] = desk.books.chain.tip.hash
        return found


@asynccontextmanager
async def opened(
    url: str, redis_url: str, seed: bytes, records: MemoryStore, journal: JournalRecords
) -> AsyncIterator[Side]:
    clock = SystemClock()
    async with open_node(url, WITHIN_S) as node, open_feed(redis_url, f"ledger-{uuid7()}") as feed:
        ledger = Ledger(journal_of(journal, clock), Told(), clock, queue_max=1_000, session_silence_s=10)
        leads = asyncio.Event()

        async def tell(yes: bool) -> None:
            if yes:
                leads.set()

        reign = asyncio.create_task(ledger.reign(Author("test", 1), tell, lambda: True))
        await leads.wait()
        servicer = LedgerServicer(ledger, feed)
        async with serving("ledger", add_LedgerServiceServicer_to_server, servicer) as server:
            stub = LedgerServiceStub(server.channel("chain"))
            rig = await open_rig(records, node, seed=seed)
            rig.world = replace(rig.world, ledger=LedgerClient(stub))
            rig.desk = await Desk.open(rig.world, RULES, rig.fence)
            yield Side(rig, records, journal, stub, LedgerClient(stub))
        reign.cancel()
        await asyncio.wait([reign])


# A life on both branches, and one on the branch that loses


@dataclass
class Life:
    """What happened before the branches parted; `lost` and `won` are two spends of one coin."""

    withdrawal: str
    raws: list[str]
    common: set[str]
    lost: Payment
    won: Payment


async def before(side: Side, regtest: Regtest) -> Life:
    """Money in the house; then, unmined: a deposit, a withdrawal, a title and a record."""
    rig, outside = side.rig, Wallet(PrivateKey())
    for address, sats in (
        (await rig.address(ANNA), 1_000_000),
        (rig.float_address, 200_000),
    ):
        await regtest.fund(address, sats)
    outside.receive(await regtest.fund(outside.address, 20_000_000))
    await regtest.mine()
    await rig.sync()
    lost = outside.pay(await rig.address(BERT), 10_000_000)
    outside.release(lost)
    won = outside.pay(await regtest.rpc.text("getnewaddress"), 10_000_000)
    coin = await regtest.fund(await rig.address(CARA), 300_000)
    withdrawal = uuid7()
    to = await regtest.rpc.text("getnewaddress")
    await rig.desk.requests.withdraw(withdrawal, ANNA, to, Sats(50_000))
    await rig.desk.pay()
    await rig.desk.titles.inscribe(TitleBody(MemeId(uuid7()), ANNA, "A cat", "image/png", b"png", "ab" * 32))
    await rig.desk.results.record(uuid7(), '{"round":1}')
    while await rig.desk.write_next():
        pass
    ours = rig.desk.books.live()
    raws = [await regtest.rpc.text("getrawtransaction", coin.txid), *(tx.raw.hex() for tx in ours)]
    return Life(withdrawal, raws, {str(tx.txid) for tx in ours}, lost, won)


async def lose(side: Side, regtest: Regtest, life: Life, depth: int) -> tuple[str, str]:
    """The branch that loses, with a deposit that the other double-spends and a withdrawal of it."""
    await regtest.rpc.text("sendrawtransaction", life.lost.raw_hex)
    [first] = await regtest.mine()
    await side.rig.sync()
    doomed = uuid7()
    to = await regtest.rpc.text("getnewaddress")
    await side.rig.desk.requests.withdraw(doomed, BERT, to, Sats(9_000_000))
    await side.rig.desk.pay()
    for _ in range(depth - 1):
        await regtest.mine()
        await side.rig.sync()
    assert (await side.account(account_of(BERT)))[0] > 0
    return first, doomed


async def other_source(side: Side, url: str, tip: str) -> None:
    """A node with another tip of the same work: ours stays, the other one is shown."""
    follower, freshness = side.rig.desk.follower, side.rig.desk.freshness
    ours = side.rig.desk.books.chain.tip
    async with open_node(url, WITHIN_S) as other:
        follower._node = other
        assert not await follower.follow()
        follower._node = side.rig.world.reader
    assert side.rig.desk.books.chain.tip == ours
    assert freshness.rival is not None
    assert freshness.rival.hash == tip


async def settle(side: Side, regtest: Regtest) -> None:
    """Two more blocks, after which what is doomed was given up."""
    for _ in range(2):
        await side.rig.sync()
        await side.rig.desk.tend()
        await regtest.mine()
    await side.rig.sync()
    await side.rig.desk.tend()


async def check(side: Side, witness: Side, life: Life, doomed: str, depth: int) -> None:
    """Both are the same; what was undone was told, each once."""
    await witness.rig.sync()
    await witness.rig.desk.tend()
    state = await side.state()
    assert state == await witness.state()
    assert state["custody"][0] == 0  # type: ignore[index]
    assert state[account_of(BERT)] == (0, 0, 0)
    assert (await side.rig.desk.withdrawals.get(doomed))[0].state is WithdrawalState.FAILED
    assert (await side.rig.desk.withdrawals.get(life.withdrawal))[0].state is WithdrawalState.CONFIRMED
    assert [len(switch.orphaned) for _, switch in side.rig.news.switches if switch.orphaned] == [depth]
    assert not any(switch.orphaned for _, switch in witness.rig.news.switches)
    told = [one for one in side.rig.news.subjects if isinstance(one, UndoneView)]
    users = sorted(deposit.user_id for view in told for deposit, _ in view.deposits)
    txids = sorted(tx.txid for view in told for tx in view.txs)
    spender = (await side.rig.world.records.txs.where("txid", next(iter(life.common))))[0]
    assert spender.value.block_hash
    assert users == sorted([BERT, CARA])
    assert set(txids) >= life.common
    assert len(txids) == len(life.common) + (depth > 1)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_two_nodes_that_were_apart_meet_again(
    pair: Pair, nodes: tuple[BsvNode, BsvNode, str], valkey_url: str, depth: int
) -> None:
    seed, store, journal = secrets.token_bytes(64), MemoryStore(SETS), JournalRecords()
    async with opened(nodes[0].url, valkey_url, seed, store, journal) as side:
        life = await before(side, pair.one)
        await pair.join()
        for raw in life.raws:
            await pair.two.rpc.text("sendrawtransaction", raw)
        copies = copy.deepcopy(store), copy.deepcopy(journal)
        await pair.part()
        _, doomed = await lose(side, pair.one, life, depth)
        await pair.two.rpc.text("sendrawtransaction", life.won.raw_hex)
        await pair.two.mine(depth)
        await other_source(side, nodes[1].url, await pair.two.tip())
        await pair.two.mine(1)
        await pair.join()
        await settle(side, pair.one)
        await pair.join()
        async with opened(nodes[1].url, valkey_url, seed, *copies) as witness:
            await check(side, witness, life, doomed, depth)
        await pair.part()


@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_node_that_finds_blocks_invalid_builds_on_others(
    bsv_node: BsvNode, regtest: Regtest, valkey_url: str, depth: int
) -> None:
    seed, store, journal = secrets.token_bytes(64), MemoryStore(SETS), JournalRecords()
    async with opened(bsv_node.url, valkey_url, seed, store, journal) as side:
        life = await before(side, regtest)
        copies = copy.deepcopy(store), copy.deepcopy(journal)
        first, doomed = await lose(side, regtest, life, depth)
        tip = await regtest.tip()
        await regtest.invalidate(first)
        await side.rig.sync()
        assert side.rig.desk.books.chain.tip.hash == tip
        await mined_elsewhere(regtest, life.won.raw_hex)
        # Less work than before, and followed: that node knows that our tip is invalid.
        await side.rig.sync()
        assert side.rig.desk.books.chain.tip.hash == await regtest.tip()
        await regtest.mine(depth)
        await settle(side, regtest)
        async with opened(bsv_node.url, valkey_url, seed, *copies) as witness:
            await check(side, witness, life, doomed, depth)
