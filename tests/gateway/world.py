"""The gateway under test: its real application on loopback, before fake services behind a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import SecretStr
from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.content.v1 import content_pb2, content_service_pb2_grpc
from satreel.identity.v1 import identity_pb2, identity_service_pb2_grpc
from satreel.identity.v1.identity_service_pb2_grpc import IdentityServiceServicer
from satreel.insight.v1 import insight_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_service_pb2_grpc
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2_grpc

from graphql_gateway import app
from graphql_gateway.config import GatewaySettings
from graphql_gateway.context import Parts
from graphql_gateway.edge.authentication import Authenticator
from graphql_gateway.edge.tickets import Tickets
from graphql_gateway.execution.memo import Memo
from graphql_gateway.live import Live
from graphql_gateway.safety.budget import Budgets
from graphql_gateway.safety.documents import Documents
from graphql_gateway.safety.front import Front
from graphql_gateway.safety.leases import Leases
from graphql_gateway.safety.windows import OwnWindows, Windows
from graphql_gateway.services import Services
from mesh import tls
from mesh.channel import MeshChannel, connect
from mesh.clock import SystemClock
from mesh.config import MeshSettings
from mesh.ids import uuid7
from mesh.revocations import Revocations
from mesh.server import MeshServer
from mesh.tokens import UserTokenSigner
from tests.gateway import fakes
from tests.gateway.client import WAIT_S, Client

# Nobody listens there.
NO_REDIS = "redis://127.0.0.1:1"


class StillClock(SystemClock):
    """Time that passes when a test says so; who sleeps does it for a tenth of the time."""

    now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def passes(self, seconds: float) -> None:
        """So much time, at once."""
        self.now_s += seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 10)


class FastClock(StillClock):
    """Ten seconds pass in one, or more when a test says so."""

    def monotonic_s(self) -> float:
        return self.now_s + time.monotonic() * 10


class StillWindows(OwnWindows):
    """It is the first second of a minute, for ever."""

    def __init__(self) -> None:
        super().__init__(lambda: 1_760_000_041.0)


class HeardRevocations(Revocations):
    """Those that a test tells of."""

    are_known = True

    def tell(self, session_id: str) -> None:
        """As if Redis had told it."""
        self._take({session_id: time.time_ns() // 1_000_000})


class World:
    """Everything around the gateway, and the gateway."""

    def __init__(self, signer: UserTokenSigner, clock: SystemClock) -> None:
        self.log = fakes.Log()
        self._clock = clock
        # Methods that no test calls answer UNIMPLEMENTED.
        self.identity = fakes.FakeIdentity(self.log, signer)  # type: ignore[abstract]
        self.content = fakes.FakeContent(self.log)  # type: ignore[abstract]
        self.rounds = fakes.FakeRounds(self.log)  # type: ignore[abstract]
        self.ledger = fakes.FakeLedger(self.log)  # type: ignore[abstract]
        self.market = fakes.FakeMarket(self.log)  # type: ignore[abstract]
        self.chain = fakes.FakeChain(self.log)  # type: ignore[abstract]
        self.insight = fakes.FakeInsight(self.log)  # type: ignore[abstract]
        self.revocations = HeardRevocations(NO_REDIS, SystemClock())
        self.url = ""
        self.services_port = 0
        self.user_token_key: Path
        self.client: Client
        self.live: Live
        self.parts: Parts
        self.tickets: Tickets
        self.stop: Callable[[], Awaitable[None]]
        # As a process does it that is asked to end; with the time to drain.
        self.leave: Callable[[float], Awaitable[None]]

    def passes(self, seconds: float) -> None:
        """So much time, at once."""
        assert isinstance(self._clock, StillClock)
        self._clock.passes(seconds)

    def user(self, name: str, *, admin: bool = False) -> identity_pb2.User:
        """Somebody who is logged in; `token_of(name)` is their access token."""
        roles = [identity_pb2.ROLE_USER, *([identity_pb2.ROLE_ADMIN] if admin else [])]
        user = identity_pb2.User(
            id=uuid7(), address=f"1{name}", display_name=name, roles=roles, created_at=fakes.AT
        )
        self.identity.users[user.id] = user
        self.identity.sessions[token_of(name)] = user.id
        return user

    def meme(self, name: str, creator: identity_pb2.User) -> content_pb2.Meme:
        """A published meme with a film."""
        meme = content_pb2.Meme(
            id=uuid7(),
            name=name,
            creator_id=creator.id,
            state=content_pb2.MEME_STATE_PUBLISHED,
            film=content_pb2.Film(codec="h264"),
            created_at=fakes.AT,
        )
        self.content.memes[meme.id] = meme
        self.ledger.titles[meme.id] = ledger_pb2.Title(meme_id=meme.id, owner_id=creator.id, since=fakes.AT)
        return meme

    def round(self, number: int = 1) -> rounds_pb2.Round:
        """The current round."""
        played = rounds_pb2.Round(id=uuid7(), number=number, state=rounds_pb2.ROUND_STATE_ACTIVE)
        self.rounds.rounds[played.id] = played
        self.rounds.boards[played.id] = rounds_pb2.Leaderboard(round_id=played.id, at=fakes.AT)
        self.rounds.current = played.id
        return played

    def settings(self, **given: Any) -> GatewaySettings:
        # Clients here answer pings only while they read: on a busy machine that is not often.
        return GatewaySettings(**{"ticket_key": SecretStr("for tests"), "ping_s": 300.0, **given})


def token_of(name: str) -> str:
    """The access token of a user."""
    return f"access-token-of-{name}"


async def until(ready: Callable[[], Any]) -> Any:
    """Waits for something to be true, and gives it."""
    async with asyncio.timeout(WAIT_S):
        while not (result := ready()):
            await asyncio.sleep(0.005)
        return result


class _FakeSettings(MeshSettings):
    service = "fakes"


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    identity: IdentityServiceServicer | None = None,
    windows: Windows | None = None,
    documents: Documents | None = None,
    clock: SystemClock | None = None,
    redis_url: str = NO_REDIS,
    **settings: Any,
) -> AsyncIterator[World]:
    """A running gateway, with this identity or the fake; asserts at the end that it leaves no task behind."""
    private_key, public_key = tls.make_user_token_keys(folder)
    clock = clock or StillClock()
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        world = World(UserTokenSigner(private_key.read_bytes(), clock, lifetime_s=3_600), clock)
        server = await _serve(world, public_key, identity or world.identity)
        stack.push_async_callback(server.abort)
        world.services_port, world.user_token_key = server.port, public_key
        services = Services.sharing_reads(lambda peer: _channel(stack, peer, server))
        world.live = Live.over(services, redis_url, clock)
        world.tickets = Tickets(SecretStr("for tests"))
        given = world.settings(**{"viewer_cache_s": 3.0, "profile": "development", **settings})
        parts = world.parts = Parts(
            world.live.before(services),
            world.live,
            Authenticator(services.identity, clock, given.viewer_cache_s, world.revocations),
            world.revocations,
            world.tickets,
            Budgets(
                await stack.enter_async_context(Leases(windows or StillWindows(), SystemClock())),
                given.quotas,
            ),
            Front(given.call_wait_max_s),
            documents or Documents(None),
            Memo(world.live, clock),
        )
        running = asyncio.create_task(world.live.run())
        stack.push_async_callback(_cancelled, running)
        runner = app.runner(app.build(given, parts), head_s=given.head_s)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        world.stop, world.leave = runner.cleanup, partial(app.leave, runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        world.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        world.client = await stack.enter_async_context(Client(world.url))
        live = world.live
        await until(
            lambda: all(
                watch.position for watch in (live.rounds, live.ledger, live.market, live.content, live.blocks)
            )
        )
        yield world
    before.add(asyncio.current_task())  # type: ignore[arg-type] # this runs in a task
    await until(lambda: asyncio.all_tasks() <= before)


async def _serve(world: World, public_key: Path, identity: IdentityServiceServicer) -> MeshServer:
    server = MeshServer(_FakeSettings(user_token_key=public_key))
    await server.add(identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, identity)
    await server.add(content_service_pb2_grpc.add_ContentServiceServicer_to_server, world.content)
    await server.add(rounds_service_pb2_grpc.add_RoundsServiceServicer_to_server, world.rounds)
    await server.add(ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server, world.ledger)
    await server.add(market_service_pb2_grpc.add_MarketServiceServicer_to_server, world.market)
    await server.add(chain_service_pb2_grpc.add_ChainServiceServicer_to_server, world.chain)
    await server.add(insight_service_pb2_grpc.add_InsightServiceServicer_to_server, world.insight)
    await server.start()
    return server


def _channel(stack: AsyncExitStack, peer: str, server: MeshServer) -> MeshChannel:
    channel = connect(me="gateway", peer=peer, addresses=f"127.0.0.1:{server.port}", tls_dir=None)
    stack.push_async_callback(channel.close)
    return channel


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
