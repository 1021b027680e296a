"""What the TypeScript package's tests play on: the gateway before fakes, with the real identity service.

It carries out what the package's own manifest lists, and nothing else, as in production.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from satreel.ledger.v1 import ledger_service_pb2
from satreel.market.v1 import market_pb2, market_service_pb2
from satreel.rounds.v1 import rounds_service_pb2

from graphql_gateway.safety.documents import Documents
from graphql_gateway.safety.manifests import read_manifests
from mesh.clock import SystemClock
from mesh.errors import Unavailable
from mesh.ids import uuid7
from mesh.records.sqlite import open_sqlite
from mesh.tls import make_user_token_keys
from mesh.tokens import UserTokenSigner
from services.identity.adapters.users import SETS
from services.identity.adapters.wallets.addresses import Kind
from services.identity.app.ports import Attempt
from tests.gateway import fakes
from tests.gateway.world import FastClock, World, opened
from tests.identity.conftest import composed
from tests.identity.signers import Signer

# All tests log in from one address.
LIMITS = {Attempt.CHALLENGE: 1_000, Attempt.LOG_IN: 1_000}


class StageClock(FastClock):
    """Ten seconds pass in one, until it is stopped."""

    def __init__(self) -> None:
        self._stopped_s: float | None = None

    def monotonic_s(self) -> float:
        return super().monotonic_s() if self._stopped_s is None else self._stopped_s

    def stop(self) -> None:
        self._stopped_s = self.monotonic_s()

    def start(self) -> None:
        """Goes on where it was stopped."""
        stopped_s, self._stopped_s = self.monotonic_s(), None
        self.passes(stopped_s - self.monotonic_s())


Act = Callable[[Any], Awaitable[Any]]


class Stage:
    """The acts that tests may ask for, by name."""

    def __init__(self, world: World, clock: StageClock) -> None:
        self._world = world
        self._clock = clock
        self._signers: dict[str, tuple[Signer, Kind]] = {}
        creator = world.user("ada")
        self.meme = world.meme("cat", creator)
        world.round()

    async def about(self, _: Any) -> Any:
        """Where the gateway is, and what it shows."""
        return {"url": f"{self._world.url}/graphql", "meme": self.meme.id}

    async def next_round(self, _: Any) -> Any:
        """Another round is the current one, and that is told."""
        rounds = self._world.rounds
        number = rounds.rounds[rounds.current].number + 1
        event = rounds_service_pb2.RoundsEvent(id=uuid7(), round=self._world.round(number))
        rounds.feed.publish(rounds_service_pb2.WatchRoundsResponse(cursor=f"r{number}", event=event))
        return {"number": number}

    async def balance(self, given: Any) -> Any:
        """A user has so many satoshis, and that is told."""
        account = f"user:{given['user']}"
        self._world.ledger.balances[account] = given["sats"]
        moved = ledger_service_pb2.Movements(accounts=[account], balances=[given["sats"]], held=[0])
        event = ledger_service_pb2.LedgerEvent(id="1", moved=moved)
        self._world.ledger.feed.publish(ledger_service_pb2.WatchLedgerResponse(cursor="l1", event=event))
        return {}

    async def sale(self, given: Any) -> Any:
        """A title is sold, and that is told."""
        sale = market_pb2.Sale(
            id=uuid7(),
            meme_id=self.meme.id,
            seller_id=self.meme.creator_id,
            buyer_id=fakes.NOBODY,
            price_sats=given["sats"],
            sold_at=fakes.AT,
        )
        event = market_service_pb2.MarketEvent(id=uuid7(), at=fakes.AT, sale=sale)
        self._world.market.feed.publish(market_service_pb2.WatchMarketResponse(cursor=sale.id, event=event))
        return {}

    async def lose_news(self, _: Any) -> Any:
        """The market's news have a gap."""
        self._world.market.feed.lost = True
        self._world.market.feed.break_streams()
        return {}

    async def fail(self, given: Any) -> Any:
        """A method's service is away, or is back."""
        failing = self._world.log.failing
        if given["away"]:
            failing[given["method"]] = Unavailable("away")
        else:
            failing.pop(given["method"], None)
        return {}

    async def viewings(self, _: Any) -> Any:
        """Paid viewings in the ledger."""
        kept = self._world.ledger.sessions.values()
        return [{"id": one.id, "seconds": one.seconds, "stopReason": one.stop_reason} for one in kept]

    async def stop_clock(self, _: Any) -> Any:
        """Time stands still for the gateway."""
        self._clock.stop()
        return {}

    async def start_clock(self, _: Any) -> Any:
        """It goes on."""
        self._clock.start()
        return {}

    async def pass_time(self, given: Any) -> Any:
        """So many seconds have passed for the gateway."""
        self._clock.passes(given["seconds"])
        return {}

    async def end_log_in(self, given: Any) -> Any:
        """Redis tells the gateway that a log-in has ended."""
        self._world.revocations.tell(given["session"])
        return {}

    async def wallet(self, given: Any) -> Any:
        """A wallet with an address of a kind."""
        signer, kind = Signer(secrets.token_bytes(32)), Kind[given["kind"]]
        address = signer.address(kind)
        self._signers[address] = signer, kind
        return {"address": address}

    async def sign(self, given: Any) -> Any:
        """Its signature, as the wallet extension of the browser makes it."""
        signer, kind = self._signers[given["address"]]
        scheme = {"ecdsa": "bsm 31", "bip322-simple": "bip322"}[given["type"]]
        return {"signature": signer.sign(scheme, kind, given["message"])}


@asynccontextmanager
async def staged(folder: Path, redis_url: str, manifest: Path, *origins: str) -> AsyncIterator[str]:
    """A stage, for pages of these origins too; gives the address of its acts."""
    clock, stage_clock = SystemClock(), StageClock()
    documents = Documents(None, read_manifests([manifest]), only_trusted=True)
    private_key, _ = make_user_token_keys(folder)
    signer = UserTokenSigner(private_key.read_bytes(), clock)
    async with (
        open_sqlite(folder / "identity.sqlite", SETS) as store,
        composed(store, redis_url, clock, frozenset(), signer, per_client=LIMITS) as identity,
        opened(
            folder,
            identity=identity.servicer,
            documents=documents,
            clock=stage_clock,
            log_ins_per_min=10_000,
            allowed_origins=list(origins),
        ) as world,
        _served(Stage(world, stage_clock)) as url,
    ):
        yield url


@asynccontextmanager
async def _served(stage: Stage) -> AsyncIterator[str]:
    async def act(request: web.Request) -> web.Response:
        chosen: Act = getattr(stage, request.match_info["act"])
        return web.json_response(await chosen(await request.json()))

    application = web.Application()
    application.router.add_post("/{act:[a-z][a-z_]+}", act)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
