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
from services.market.adapters.records import (
    SETS,
    StoredCandles,
    StoredListings,
    StoredOffers,
    StoredQuotes,
    StoredSales,
)
from services.market.app.accepting import Accepting
from services.market.app.bidding import Bidding
from services.market.app.buying import Buying
from services.market.app.expiry import Expiry
from services.market.app.outbox import Outbox
from services.market.app.places import Places
from services.market.app.reading import Reading
from services.market.app.recovery import Recovery
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
        listings, offers, sales = StoredListings(store), StoredOffers(store), StoredSales(store)
        quotes, candles = StoredQuotes(store), StoredCandles(store)
        ledger = GrpcLedger(ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger")))
        chain = GrpcChain(chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain")))
        news = FeedNews(feed, clock, uuid7)

        bidding = Bidding(offers=offers, ledger=ledger, news=news, clock=clock)
        outbox = Outbox(
            listings=listings,
            offers=offers,
            sales=sales,
            bidding=bidding,
            chain=chain,
            news=news,
            clock=clock,
        )
        places = Places(
            listings=listings, offers=offers, quotes=quotes, ledger=ledger, news=news, clock=clock
        )
        settlement = Settlement(
            sales=sales,
            quotes=quotes,
            candles=candles,
            ledger=ledger,
            clock=clock,
            wake_outbox=outbox.wake,
        )
        selling = Selling(listings=listings, places=places, ledger=ledger, news=news, clock=clock)
        buying = Buying(
            listings=listings,
            sales=sales,
            ledger=ledger,
            places=places,
            settlement=settlement,
            news=news,
            clock=clock,
        )
        accepting = Accepting(
            offers=offers,
            sales=sales,
            ledger=ledger,
            bidding=bidding,
            places=places,
            settlement=settlement,
            clock=clock,
        )
        recovery = Recovery(
            listings=listings,
            offers=offers,
            buying=buying,
            accepting=accepting,
            bidding=bidding,
            clock=clock,
        )
        expiry = Expiry(listings=listings, offers=offers, selling=selling, bidding=bidding, clock=clock)
        servicer = MarketServicer(
            selling=selling,
            buying=buying,
            bidding=bidding,
            accepting=accepting,
            reading=Reading(
                listings=listings, offers=offers, sales=sales, quotes=quotes, candles=candles, clock=clock
            ),
            feed=feed,
        )
        await runtime.add(market_service_pb2_grpc.add_MarketServiceServicer_to_server, servicer)
        runtime.background(recovery.run, "recovery")
        runtime.background(outbox.run, "outbox")
        runtime.background(expiry.run, "expiry")
        await runtime.serve()


if __name__ == "__main__":
    run(MarketSettings, main)
