"""Starts the chain service. Reads as a recipe."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from bsv.native import NATIVE_AVAILABLE
from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc

from mesh.feeds import open_feed
from mesh.leases import LEASES, LeadershipLost, Lease, lead
from mesh.records import open_store
from mesh.runtime import Runtime, run
from services.chain.adapters import secrecy
from services.chain.adapters.callbacks import Callbacks, open_callbacks
from services.chain.adapters.feeds import BLOCKS_FEED, CHAIN_FEED, FeedNews
from services.chain.adapters.ledger import LedgerClient
from services.chain.adapters.users import IdentityUsers
from services.chain.app.fees import FeeRate
from services.chain.app.parts import World
from services.chain.app.ports import ChainNews
from services.chain.app.records import SETS, Records
from services.chain.app.service import Chain
from services.chain.app.sources import Broadcasters, Readers
from services.chain.app.trust import Trust
from services.chain.config import ChainSettings
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.keys import KeyRing
from services.chain.outside import open_sources
from services.chain.rpc import mapping
from services.chain.rpc.servicer import ChainServicer

SERVICE = "satreel.chain.v1.ChainService"


@dataclass(frozen=True, slots=True)
class Outside:
    """The chain, as this process reaches it."""

    reader: Readers
    broadcaster: Broadcasters
    news: ChainNews
    hints: Callbacks | None
    fees: FeeRate


async def main(settings: ChainSettings) -> None:
    """Composes the service and serves until stopped."""
    if not NATIVE_AVAILABLE:
        raise RuntimeError("bsv-sdk runs without its native extension: signing would be 200 times slower")
    secrecy.shut()
    seed = settings.seed_source.load()
    async with Runtime(settings) as runtime:
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        blocks = await runtime.enter(open_feed(settings.redis_url, BLOCKS_FEED))
        events = await runtime.enter(open_feed(settings.redis_url, CHAIN_FEED))
        outside = await open_outside(runtime, settings)
        news = FeedNews(blocks=blocks, chain=events, show=mapping, clock=runtime.clock)
        world = world_of(runtime, Records(store), KeyRing(seed, settings.network), outside, news)

        async def serving(yes: bool) -> None:
            if outside.hints is not None:
                outside.hints.take(yes)
            await runtime.health.set(SERVICE, yes)

        chain = Chain(world, settings.rules, serving)

        async def leading() -> None:
            while True:
                with suppress(LeadershipLost):
                    await lead(Lease(store, "chain", clock=runtime.clock), chain.reign)

        await runtime.add(
            chain_service_pb2_grpc.add_ChainServiceServicer_to_server,
            ChainServicer(chain, blocks=blocks, events=events),
            serving=False,
        )
        runtime.background(leading, "lead", leads=True)
        await runtime.serve()


def world_of(runtime: Runtime, records: Records, keys: KeyRing, outside: Outside, news: FeedNews) -> World:
    """What chain stands on, as this process reaches it."""
    return World(
        records=records,
        keys=keys,
        reader=outside.reader,
        broadcaster=outside.broadcaster,
        chain_news=outside.news,
        hints=outside.hints,
        fees=outside.fees,
        ledger=LedgerClient(ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger"))),
        users=IdentityUsers(identity_service_pb2_grpc.IdentityServiceStub(runtime.channel("identity"))),
        news=news,
        clock=runtime.clock,
    )


async def open_outside(runtime: Runtime, settings: ChainSettings) -> Outside:
    """The sources that are set, each as far as it is believed."""
    hints, callback = await open_hints(runtime, settings)
    sources = await runtime.enter(open_sources(settings, runtime.clock, callback))
    changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    trust = Trust(runtime.clock, lambda name, usable: changes.put_nowait((name, usable)))

    async def show() -> None:
        while True:
            name, usable = await changes.get()
            await runtime.health.set(f"{SERVICE}/{name}", usable)

    runtime.background(show, "show sources")
    return Outside(
        Readers(sources.readers, trust, CONSENSUS[settings.network]),
        Broadcasters(sources.broadcasters, trust, runtime.clock),
        sources.news,
        hints,
        FeeRate(settings.sats_per_kb, settings.sats_per_kb_max, sources.quotes),
    )


async def open_hints(runtime: Runtime, settings: ChainSettings) -> tuple[Callbacks | None, Mapping[str, str]]:
    """Where ARC calls back, and the headers that tell it so."""
    if not (settings.arc_url and settings.callback_url):
        return None, {}
    token = settings.callback_token.get_secret_value() or secrets.token_urlsafe(32)
    callbacks, _ = await runtime.enter(open_callbacks(settings.callback_listen, token))
    callbacks.take(False)
    headers = {
        "X-CallbackUrl": settings.callback_url,
        "X-CallbackToken": token,
        "X-FullStatusUpdates": "true",
    }
    return callbacks, headers


if __name__ == "__main__":
    run(ChainSettings, main)
