"""A ledger behind a real server over loopback, and stubs for its callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub, add_LedgerServiceServicer_to_server

from mesh.clock import NS_PER_S, SystemClock
from mesh.errors import Code, RemoteFailure
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.testing import LoopbackServer, serving
from services.ledger.adapters.news import FeedNews
from services.ledger.app.journal import Author
from services.ledger.app.ledger import Ledger
from services.ledger.domain import audit
from services.ledger.rpc import show
from services.ledger.rpc.servicer import LedgerServicer
from tests.ledger.stores import MemoryStore, journal_of
from tests.ledger.world import txid_of, uid

NOW_NS = SystemClock().now_ns()
PARAMETERS = ledger_pb2.Parameters(
    version=1, platform_fee_bp=200, instant_bp=4500, creator_bp=1000, winner_bp=2000, ranks_paid=100,
    payout_min_sats=100, second_price_sats=1, free_below_s=3, session_max_s=3600, scored_seconds_max=600,
)  # fmt: skip
ANA, BEN, MEME = uuid7(), uuid7(), uuid7()


class PushedClock(SystemClock):
    """It stands where it began, however slow the machine, until a test pushes it forward."""

    def __init__(self) -> None:
        self._began_ns = super().now_ns()
        self.shift_ns = 0

    def now_ns(self) -> int:
        return self._began_ns + self.shift_ns


class House:
    """A ledger behind a real server, and stubs for its callers."""

    def __init__(self, server: LoopbackServer, ledger: Ledger, clock: PushedClock) -> None:
        self.server = server
        self.ledger = ledger
        self.clock = clock
        self.chain, self.market, self.rounds, self.content, self.gateway = (
            LedgerServiceStub(server.channel(name))
            for name in ("chain", "market", "rounds", "content", "gateway")
        )

    async def digest(self) -> str:
        return await self.ledger.ask(lambda state, _: audit.digest(state))

    async def refused(self, call: Awaitable[object], reason: str, code: Code | None = None) -> RemoteFailure:
        """The call fails for this reason and nothing changed."""
        before = await self.digest()
        with pytest.raises(RemoteFailure) as failure:
            await call
        assert failure.value.reason == reason
        assert code is None or failure.value.code is code
        assert await self.digest() == before
        return failure.value

    async def fund(self, user: str, sats: int) -> ledger_pb2.Deposit:
        deposit = ledger_pb2.Deposit(
            id=uuid7(),
            user_id=user,
            amount_sats=sats,
            txid=txid_of(uuid7()),
            block_hash="b" * 64,
        )
        await self.chain.CreditDeposits(pb.CreditDepositsRequest(deposits=[deposit]))
        return deposit

    def round_request(self, **more: Any) -> pb.OpenRoundRequest:
        now_s = self.clock.now_ns() // NS_PER_S
        fields: dict[str, Any] = {
            "round_id": uid("round", NOW_NS),
            "parameters": PARAMETERS,
            "starts_at": Timestamp(seconds=now_s),
            "locks_at": Timestamp(seconds=now_s + 600),
            "entries": [ledger_pb2.RoundEntry(meme_id=MEME, creator_id=ANA, quality_ppm=900_000)],
        }
        return pb.OpenRoundRequest(**{**fields, **more})

    async def open_round(self) -> pb.OpenRoundRequest:
        await self.content.IssueTitle(pb.IssueTitleRequest(meme_id=MEME, creator_id=ANA))
        request = self.round_request()
        await self.rounds.OpenRound(request)
        return request

    async def transfer(self, stub: LedgerServiceStub, **fields: Any) -> ledger_pb2.TransferResult:
        transfer = ledger_pb2.Transfer(
            **{"id": uuid7(), "kind": ledger_pb2.TRANSFER_KIND_POST, "asset": "sat", **fields}
        )
        reply = await stub.CreateTransfers(pb.CreateTransfersRequest(transfers=[transfer]))
        return reply.results[0]


@asynccontextmanager
async def open_house(redis_url: str) -> AsyncIterator[House]:
    clock = PushedClock()
    async with open_feed(redis_url, f"ledger-{uuid7()}") as feed:
        journal = journal_of(MemoryStore(), clock)
        ledger = Ledger(journal, FeedNews(feed, show.event), clock, queue_max=1_000, session_silence_s=10)
        leading = asyncio.Event()

        async def tell(yes: bool) -> None:
            leading.set() if yes else leading.clear()

        reign = asyncio.create_task(ledger.reign(Author("test", 1), tell, lambda: True))
        await leading.wait()
        async with serving(
            "ledger", add_LedgerServiceServicer_to_server, LedgerServicer(ledger, feed)
        ) as server:
            yield House(server, ledger, clock)
        reign.cancel()
        await asyncio.wait([reign])


async def meter(gateway: LedgerServiceStub, *lines: tuple[int, int]) -> pb.MeterResponse:
    """One report of these meter keys and seconds."""
    request = pb.MeterRequest(
        gateway_id=uid("gateway", NOW_NS),
        sequence=1,
        meter_keys=[key for key, _ in lines],
        seconds=[seconds for _, seconds in lines],
    )

    async def once() -> AsyncIterator[pb.MeterRequest]:
        yield request

    return await anext(aiter(gateway.Meter(once())))


async def watch_for(house: House, viewer: str, seconds: int, budget: int = 1_000) -> str:
    """A session that has been reported for so many seconds."""
    session_id = uuid7()
    with house.server.user(viewer):
        opened = await house.gateway.OpenSession(
            pb.OpenSessionRequest(session_id=session_id, meme_id=MEME, budget_sats=budget)
        )
    for second in range(5, seconds + 1, 5):
        house.clock.shift_ns += 5 * NS_PER_S
        reply = await meter(house.gateway, (opened.session.meter_key, second))
        assert reply.burned_sats == [second]
    return session_id
