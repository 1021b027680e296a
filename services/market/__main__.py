"""Starts the market. Reads as a recipe."""

from __future__ import annotations

from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc
from satreel.market.v1 import market_service_pb2_grpc

from mesh.feeds import Feed, open_feed
from mesh.ids import uuid7
from mesh.records import Store, open_store
from mesh.runtime import Runtime, run
from services.market.adapters.peers import GrpcChain, GrpcLedger
from services.market.adapters.records import (
    SETS,
    StoredCandles,
    StoredListings,
    StoredOffers,
    StoredQuotes,
    StoredSales,
)
from services.market.app.parts import Parts, World
from services.market.config import MarketSettings
from services.market.rpc.news import FEED, FeedNews
from services.market.rpc.servicer import MarketServicer


async def main(settings: MarketSettings) -> None:
    """Composes the service and serves until stopped."""
    async with Runtime(settings) as runtime:
        store = await runtime.enter(open_store(settings, SETS))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED))
        parts = Parts(world_of(runtime, store, feed))
        await runtime.add(
            market_service_pb2_grpc.add_MarketServiceServicer_to_server, MarketServicer(parts, feed)
        )
        runtime.background(parts.recovery.run, "recovery")
        runtime.background(parts.outbox.run, "outbox")
        runtime.background(parts.expiry.run, "expiry")
        await runtime.serve()


def world_of(runtime: Runtime, store: Store, feed: Feed) -> World:
    """What the market stands on, as this process reaches it."""
    return World(
        listings=StoredListings(store),
        offers=StoredOffers(store),
        sales=StoredSales(store),
        quotes=StoredQuotes(store),
        candles=StoredCandles(store),
        ledger=GrpcLedger(ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger"))),
        chain=GrpcChain(chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain"))),
        news=FeedNews(feed, runtime.clock, uuid7),
        clock=runtime.clock,
    )


if __name__ == "__main__":
    run(MarketSettings, main)
