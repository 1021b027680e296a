"""Reads over the wire: a leader and a standby behind real servers, and what their replies say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import (
    LedgerServiceStub,
    add_LedgerServiceServicer_to_server,
)

from mesh.channel import ahead_of_answers, connect
from mesh.clock import SystemClock
from mesh.errors import Code, RemoteFailure
from mesh.feeds import Feed, open_feed
from mesh.ids import uuid7
from mesh.testing import LoopbackServer, serving
from services.ledger.adapters.news import FeedNews
from services.ledger.app.journal import Author
from services.ledger.app.leadership import keep_telling_readable
from services.ledger.app.ledger import STALENESS_S_MAX, Ledger
from services.ledger.rpc import show
from services.ledger.rpc.reading import READS
from services.ledger.rpc.servicer import LedgerServicer
from tests.ledger.stores import MemoryStore, journal_of

SERVICE = "satreel.ledger.v1.LedgerService"
BEN = uuid7()


class Node:
    """An instance of the service in this process; a test makes it lead."""

    def __init__(self, server: LoopbackServer, ledger: Ledger, tasks: asyncio.TaskGroup) -> None:
        self.server = server
        self.ledger = ledger
        self.reign: asyncio.Task[None] | None = None
        self._tasks = tasks

    async def lead(self, name: str) -> None:
        leads = asyncio.Event()

        async def tell(yes: bool) -> None:
            await self.server.server.health.set(SERVICE, yes)
            leads.set() if yes else leads.clear()

        self.reign = self._tasks.create_task(self.ledger.reign(Author(name, 1), tell, lambda: True))
        await leads.wait()

    async def step_down(self) -> None:
        if self.reign is not None:
            self.reign.cancel()
            await asyncio.wait([self.reign])

    def stub(self, service: str, health: str = "") -> LedgerServiceStub:
        return LedgerServiceStub(self.server.channel(service, health=health))


@asynccontextmanager
async def node(store: MemoryStore, feed: Feed, tasks: asyncio.TaskGroup) -> AsyncIterator[Node]:
    clock = SystemClock()
    ledger = Ledger(
        journal_of(store, clock), FeedNews(feed, show.event), clock, queue_max=99, session_silence_s=10
    )
    servicer = LedgerServicer(ledger, feed)
    async with serving("ledger", add_LedgerServiceServicer_to_server, servicer) as server:
        await server.server.health.set(SERVICE, False)

        async def tell(yes: bool) -> None:
            await server.server.health.set(READS, yes)

        works = [
            tasks.create_task(ledger.follow()),
            tasks.create_task(keep_telling_readable(ledger, tell, clock)),
        ]
        made = Node(server, ledger, tasks)
        yield made
        await made.step_down()
        for work in works:
            work.cancel()


class House:
    """A leader and a standby."""

    def __init__(self, store: MemoryStore, leader: Node, standby: Node) -> None:
        self.store = store
        self.leader = leader
        self.standby = standby

    async def fund(self, sats: int) -> None:
        deposit = ledger_pb2.Deposit(
            id=uuid7(), user_id=BEN, amount_sats=sats, txid=uuid7().replace("-", "") * 2, block_hash="b" * 64
        )
        request = pb.CreditDepositsRequest(deposits=[deposit])
        await self.leader.stub("chain").CreditDeposits(request)

    async def seen(self, sequence: int) -> None:
        """The standby has come so far."""
        while self.standby.ledger.standing.sequence < sequence:
            await asyncio.sleep(0.01)


@pytest.fixture
async def house(valkey_url: str) -> AsyncIterator[House]:
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        name = f"ledger-{uuid7()}"
        feeds = [await stack.enter_async_context(open_feed(valkey_url, name)) for _ in range(2)]
        leader, standby = [await stack.enter_async_context(node(store, feed, tasks)) for feed in feeds]
        await leader.lead("leader")
        yield House(store, leader, standby)


def totals() -> pb.GetTotalsRequest:
    return pb.GetTotalsRequest()


async def asked(call: Callable[[], Awaitable[object]]) -> dict[str, str]:
    """What the server said ahead of its answer, whatever the answer was."""
    with ahead_of_answers() as said, suppress(RemoteFailure):
        await call()
    return {key: value for key, value in said.items() if key.startswith("satreel-ledger-")}


async def test_replies_say_where_they_come_from(house: House) -> None:
    await house.fund(100)
    await house.seen(2)
    leader = house.leader.stub("chain")
    standby = house.standby.stub("chain", READS)
    assert await asked(lambda: leader.GetTotals(totals())) == {
        "satreel-ledger-role": "leader", "satreel-ledger-sequence": "2", "satreel-ledger-staleness-ms": "0",
    }  # fmt: skip
    said = await asked(lambda: standby.GetTotals(totals()))
    assert (said["satreel-ledger-role"], said["satreel-ledger-sequence"]) == ("standby", "2")
    assert 0 < int(said["satreel-ledger-staleness-ms"]) <= STALENESS_S_MAX * 1_000
    assert (await standby.GetTotals(totals())).users_sats == 100
    unknown = pb.GetAccountRequest(account_id="user:nobody")
    for stub, role in ((leader, "leader"), (standby, "standby")):
        said = await asked(lambda stub=stub: stub.GetAccount(unknown))  # type: ignore[misc] # bound at once
        assert said["satreel-ledger-role"] == role


async def test_only_who_asks_for_it_gets_older_state(house: House) -> None:
    await house.seen(1)
    address = house.standby.server.address
    raw = connect(me="chain", peer="ledger", addresses=address, tls_dir=None, health_checked=False)
    async with raw as channel:
        stub = LedgerServiceStub(channel)
        with pytest.raises(RemoteFailure) as failure:
            await stub.GetTotals(totals(), timeout=20)
    assert (failure.value.code, failure.value.reason) == (Code.UNAVAILABLE, "NOT_LEADER")


async def test_reads_anywhere_reach_both_and_commands_the_leader(house: House) -> None:
    addresses = f"{house.leader.server.address},{house.standby.server.address}"
    await house.seen(1)
    async with connect(me="chain", peer="ledger", addresses=addresses, tls_dir=None, health=READS) as channel:
        reads = LedgerServiceStub(channel)
        roles: set[str] = set()
        async with asyncio.timeout(60):
            while len(roles) < 2:
                roles.add((await asked(lambda: reads.GetTotals(totals())))["satreel-ledger-role"])
    async with connect(me="chain", peer="ledger", addresses=addresses, tls_dir=None) as channel:
        strict = LedgerServiceStub(channel)
        for _ in range(10):
            assert (await asked(lambda: strict.GetTotals(totals())))["satreel-ledger-role"] == "leader"


async def test_a_standby_serves_watchers(house: House) -> None:
    await house.fund(100)
    updates = aiter(house.standby.stub("insight", READS).WatchLedger(pb.WatchLedgerRequest()))
    # The standby may not have applied it yet when the call comes: it looks before it answers.
    assert (await anext(updates)).snapshot.journal_sequence == 2
    await house.fund(50)
    async for update in updates:
        if update.HasField("event"):
            assert list(update.event.moved.amounts) == [50]
            return


async def test_watchers_of_a_standby_without_a_store_are_told(house: House) -> None:
    await house.seen(1)
    house.store.away = True
    with pytest.raises(RemoteFailure) as failure:
        await anext(aiter(house.standby.stub("insight", READS).WatchLedger(pb.WatchLedgerRequest())))
    assert (failure.value.code, failure.value.reason) == (Code.UNAVAILABLE, "TOO_STALE")


async def test_the_standby_takes_over_for_those_who_wait(house: House) -> None:
    await house.fund(100)
    addresses = f"{house.leader.server.address},{house.standby.server.address}"
    async with connect(me="chain", peer="ledger", addresses=addresses, tls_dir=None) as channel:
        stub = LedgerServiceStub(channel)
        await stub.GetTotals(totals())
        await house.leader.step_down()
        waiting = asyncio.ensure_future(stub.GetTotals(totals()))
        await house.standby.lead("standby")
        assert (await waiting).users_sats == 100
