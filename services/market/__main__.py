"""Starts the market. Reads as a recipe."""

from __future__ import annotations

from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc
from satreel.market.v1 import market_service_pb2_grpc

from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.records import open_store
from mesh.runtime import Runtime, run
from services.market.adapters.peers import GrpcChain, GrpcLedger
from services.market.adapters.records import SETS, StoredListings, StoredQuotes, StoredSales
from services.market.app.afterwards import Outbox, Recovery
from services.market.app.buying import Buying
from services.market.app.reading import Reading
from services.market.app.selling import Selling
from services.market.app.settlement import Settlement
from services.market.config import MarketSettings
from services.market.rpc.news import FEED, FeedNews
from services.market.rpc.servicer import MarketServicer


async def main(settings: MarketSettings) -> None:
    """Composes the service and serves until stopped."""
    async with Runtime(settings) as runtime:
        clock = runtime.clock
        store = await runtime.enter(open_store(settings, SETS))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED))
        listings, sales, quotes = StoredListings(store), StoredSales(store), StoredQuotes(store)
        ledger = GrpcLedger(ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger")))
        chain = GrpcChain(chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain")))
        news = FeedNews(feed, clock, uuid7)

        outbox = Outbox(listings=listings, sales=sales, chain=chain, news=news, clock=clock)
        settlement = Settlement(
            listings=listings,
            sales=sales,
            quotes=quotes,
            ledger=ledger,
            news=news,
            clock=clock,
            wake_outbox=outbox.wake,
        )
        recovery = Recovery(listings=listings, settlement=settlement, clock=clock)
        servicer = MarketServicer(
            selling=Selling(listings=listings, quotes=quotes, ledger=ledger, news=news, clock=clock),
            buying=Buying(listings=listings, sales=sales, ledger=ledger, settlement=settlement, clock=clock),
            reading=Reading(listings=listings, sales=sales, quotes=quotes),
            feed=feed,
        )
        await runtime.add(market_service_pb2_grpc.add_MarketServiceServicer_to_server, servicer)
        runtime.background(recovery.run, "recovery")
        runtime.background(outbox.run, "outbox")
        await runtime.serve()


if __name__ == "__main__":
    run(MarketSettings, main)
