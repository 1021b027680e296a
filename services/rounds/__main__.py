"""Starts rounds. Reads as a recipe."""

from __future__ import annotations

from functools import partial

from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.content.v1 import content_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc
from satreel.rounds.v1 import rounds_service_pb2_grpc

from mesh.feeds import Feed, open_feed
from mesh.ids import uuid7
from mesh.leases import LEASES, Lease, lead
from mesh.records import Store, open_store
from mesh.runtime import Runtime, run
from services.rounds.adapters.chain import ChainClient
from services.rounds.adapters.content import ContentClient
from services.rounds.adapters.ledger import LedgerClient
from services.rounds.adapters.records import SETS, CandidateRecords, CursorRecords, RoundRecords
from services.rounds.app.parts import Parts, World
from services.rounds.config import RoundsSettings
from services.rounds.rpc.news import FeedNews
from services.rounds.rpc.servicer import RoundsServicer

SERVICE = "satreel.rounds.v1.RoundsService"


async def main(settings: RoundsSettings) -> None:
    """Composes the service and serves until stopped."""
    async with Runtime(settings) as runtime:
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        feed = await runtime.enter(open_feed(settings.redis_url, "rounds"))
        parts = Parts(world_of(runtime, store, feed), settings.timing, settings.board_interval_s)
        serving = partial(runtime.health.set, SERVICE)
        lease = Lease(store, "rounds", clock=runtime.clock)
        await runtime.add(
            rounds_service_pb2_grpc.add_RoundsServiceServicer_to_server,
            RoundsServicer(parts.service, feed),
            serving=False,
        )
        runtime.background(partial(lead, lease, lambda _: parts.leading.run(serving)), "lead", leads=True)
        await runtime.serve()


def world_of(runtime: Runtime, store: Store, feed: Feed) -> World:
    """What rounds stands on, as this process reaches it."""
    return World(
        rounds=RoundRecords(store),
        candidates=CandidateRecords(store),
        cursors=CursorRecords(store),
        ledger=LedgerClient(ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger"))),
        content=ContentClient(content_service_pb2_grpc.ContentServiceStub(runtime.channel("content"))),
        chain=ChainClient(chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain"))),
        news=FeedNews(feed, runtime.clock),
        clock=runtime.clock,
        new_id=uuid7,
    )


if __name__ == "__main__":
    run(RoundsSettings, main)
