"""The services of the mesh behind the gateways: the fakes of the tests in a process of their own.

    python -m bench.gateway.services PRIVATE_KEY PUBLIC_KEY

It prints a line of JSON when it serves: its port. `publish N INTERVAL_S` on its standard input has it publish
so many leaderboards, so far apart, whose best standing has the time in microseconds as its score; `count` has
it print how many streams are open. The end of its standard input ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from google.protobuf.message import Message
from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.content.v1 import content_pb2, content_service_pb2_grpc
from satreel.identity.v1 import identity_pb2, identity_service_pb2_grpc
from satreel.insight.v1 import insight_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_pb2, market_service_pb2_grpc
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2, rounds_service_pb2_grpc

from mesh import logs
from mesh.clock import SystemClock
from mesh.config import MeshSettings
from mesh.ids import uuid7
from mesh.server import MeshServer
from mesh.tokens import UserTokenSigner
from tests.gateway import fakes

TOKEN = "access-token-of-the-bench"  # noqa: S105 - of a user who lives as long as the run
# The mutation sets it anew: what was kept of the user before is as good as what comes after.
NAME = "Ada of the bench"
MEMES = 60
STANDINGS = 20
POSTINGS = 30
CREATORS = 10


class _Settings(MeshSettings):
    service = "fakes"


class _Forgetful(fakes.Log):
    """Keeps no calls: memory is flat however many come."""

    async def take(self, request: Message) -> None:
        """Nothing to do."""


class Services:
    """The fakes, and what they know: a round, memes on sale, a user with a history."""

    def __init__(self, signer: UserTokenSigner) -> None:
        log = _Forgetful()
        # Methods that nobody calls answer UNIMPLEMENTED.
        self.identity = fakes.FakeIdentity(log, signer)  # type: ignore[abstract]
        self.content = fakes.FakeContent(log)  # type: ignore[abstract]
        self.rounds = fakes.FakeRounds(log)  # type: ignore[abstract]
        self.ledger = fakes.FakeLedger(log)  # type: ignore[abstract]
        self.market = fakes.FakeMarket(log)  # type: ignore[abstract]
        self.chain = fakes.FakeChain(log)  # type: ignore[abstract]
        self.insight = fakes.FakeInsight(log)  # type: ignore[abstract]
        self._events = 0
        creators = [self._user(f"creator {number}") for number in range(CREATORS)]
        memes = [self._meme(number, creators[number % CREATORS]) for number in range(MEMES)]
        self._history(self._user(NAME, token=TOKEN))
        self._round(memes)

    async def serve(self, public_key: Path) -> MeshServer:
        """All of them behind one server of the mesh, on a port that it chooses."""
        server = MeshServer(_Settings(user_token_key=public_key))
        await self.add_to(server.add)
        await server.start()
        return server

    async def add_to(self, add: Callable[..., Awaitable[None]]) -> None:
        """Adds all of them to a server."""
        await add(identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, self.identity)
        await add(content_service_pb2_grpc.add_ContentServiceServicer_to_server, self.content)
        await add(rounds_service_pb2_grpc.add_RoundsServiceServicer_to_server, self.rounds)
        await add(ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server, self.ledger)
        await add(market_service_pb2_grpc.add_MarketServiceServicer_to_server, self.market)
        await add(chain_service_pb2_grpc.add_ChainServiceServicer_to_server, self.chain)
        await add(insight_service_pb2_grpc.add_InsightServiceServicer_to_server, self.insight)

    @property
    def streams(self) -> int:
        """How many Watch streams are open, of all services."""
        parts = (self.rounds, self.ledger, self.market, self.content, self.chain)
        return sum(part.feed.watchers for part in parts)

    def publish(self) -> None:
        """Standings that have moved: the best one's score is the time, in microseconds."""
        self._events += 1
        board = self.rounds.boards[self.rounds.current]
        board.at.GetCurrentTime()
        board.standings[0].score = time.time_ns() // 1_000
        event = rounds_service_pb2.RoundsEvent(id=f"{self._events:020}", at=board.at, leaderboard=board)
        cursor = f"r{self._events}"
        self.rounds.feed.publish(rounds_service_pb2.WatchRoundsResponse(cursor=cursor, event=event))

    def _user(self, name: str, *, token: str = "") -> identity_pb2.User:
        user = identity_pb2.User(
            id=uuid7(),
            address=f"1{name}",
            display_name=name,
            roles=[identity_pb2.ROLE_USER],
            created_at=fakes.AT,
        )
        self.identity.users[user.id] = user
        if token:
            self.identity.sessions[token] = user.id
        return user

    def _meme(self, number: int, creator: identity_pb2.User) -> content_pb2.Meme:
        meme = content_pb2.Meme(
            id=uuid7(),
            name=f"meme {number}",
            creator_id=creator.id,
            state=content_pb2.MEME_STATE_PUBLISHED,
            film=content_pb2.Film(codec="h264"),
            created_at=fakes.AT,
        )
        self.content.memes[meme.id] = meme
        listing = market_pb2.Listing(
            id=uuid7(),
            meme_id=meme.id,
            seller_id=creator.id,
            price_sats=1_000 + number,
            state=market_pb2.LISTING_STATE_OPEN,
        )
        self.market.listings[listing.id] = listing
        return meme

    def _history(self, viewer: identity_pb2.User) -> None:
        account = f"user:{viewer.id}"
        self.ledger.balances[account] = 50_000
        self.ledger.postings = [
            ledger_pb2.Posting(
                sequence=sequence,
                transfer_id=uuid7(),
                debit_account="platform:fee",
                credit_account=account,
                asset="sat",
                amount=sequence,
                memo=f"payout:{sequence}",
                posted_at=fakes.AT,
            )
            for sequence in range(POSTINGS, 0, -1)
        ]

    def _round(self, memes: list[content_pb2.Meme]) -> None:
        played = rounds_pb2.Round(
            id=uuid7(), number=7, state=rounds_pb2.ROUND_STATE_ACTIVE, takings_sats=9_000, entries=len(memes)
        )
        self.rounds.rounds[played.id] = played
        self.rounds.current = played.id
        standings = [
            rounds_pb2.Standing(
                rank=rank,
                meme_id=meme.id,
                creator_id=meme.creator_id,
                score=1_000_000 - rank,
                paid_seconds=1_000 - rank,
                viewers=100 - rank,
                takings_sats=900 - rank,
            )
            for rank, meme in enumerate(memes[:STANDINGS], 1)
        ]
        self.rounds.boards[played.id] = rounds_pb2.Leaderboard(
            round_id=played.id, at=fakes.AT, standings=standings
        )


async def _obey(services: Services) -> None:
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        match line.split():
            case [b"count"]:
                print(json.dumps({"streams": services.streams}), flush=True)
            case [b"publish", count, interval_s]:
                await _publish(services, int(count), float(interval_s))


async def _publish(services: Services, count: int, interval_s: float) -> None:
    loop = asyncio.get_running_loop()
    next_s = loop.time()
    for _ in range(count):
        services.publish()
        next_s += interval_s
        await asyncio.sleep(max(0.0, next_s - loop.time()))


async def main(key: bytes, public_key: Path) -> None:
    """Serves until its standard input ends."""
    logs.configure(service="services", level="error", as_json=True)
    services = Services(UserTokenSigner(key, SystemClock()))
    server = await services.serve(public_key)
    print(json.dumps({"port": server.port}), flush=True)
    await _obey(services)
    await server.abort()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])))
