"""Starts the chain service. Reads as a recipe."""

from __future__ import annotations

from contextlib import suppress

from bsv.native import NATIVE_AVAILABLE
from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc

from mesh.feeds import open_feed
from mesh.leases import LEASES, LeadershipLost, Lease, lead
from mesh.records import open_store
from mesh.runtime import Runtime, run
from services.chain.adapters.feeds import BLOCKS_FEED, CHAIN_FEED, FeedNews
from services.chain.adapters.ledger import LedgerClient
from services.chain.adapters.news import open_node_news
from services.chain.adapters.node import open_node
from services.chain.adapters.users import IdentityUsers
from services.chain.app.parts import World
from services.chain.app.records import SETS, Records
from services.chain.app.service import Chain
from services.chain.config import ChainSettings
from services.chain.domain.keys import KeyRing
from services.chain.rpc import mapping
from services.chain.rpc.servicer import ChainServicer

SERVICE = "satreel.chain.v1.ChainService"


async def main(settings: ChainSettings) -> None:
    """Composes the service and serves until stopped."""
    if not NATIVE_AVAILABLE:
        raise RuntimeError("bsv-sdk runs without its native extension: signing would be 200 times slower")
    seed = settings.seed_source.load()
    async with Runtime(settings) as runtime:
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        blocks = await runtime.enter(open_feed(settings.redis_url, BLOCKS_FEED))
        events = await runtime.enter(open_feed(settings.redis_url, CHAIN_FEED))
        node = await runtime.enter(open_node(settings.node_url.get_secret_value(), settings.node_timeout_s))
        chain_news = await runtime.enter(open_node_news(settings.node_zmq, settings.poll_s))
        world = World(
            records=Records(store),
            keys=KeyRing(seed, settings.network),
            reader=node,
            broadcaster=node,
            chain_news=chain_news,
            ledger=LedgerClient(ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger"))),
            users=IdentityUsers(identity_service_pb2_grpc.IdentityServiceStub(runtime.channel("identity"))),
            news=FeedNews(blocks=blocks, chain=events, show=mapping, clock=runtime.clock),
            clock=runtime.clock,
        )

        async def serving(yes: bool) -> None:
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
        runtime.background(leading, "lead")
        await runtime.serve()


if __name__ == "__main__":
    run(ChainSettings, main)
