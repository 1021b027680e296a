"""Starts insight. Reads as a recipe."""

from __future__ import annotations

from functools import partial

from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.content.v1 import content_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2_grpc
from satreel.insight.v1 import insight_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc
from satreel.market.v1 import market_service_pb2_grpc
from satreel.rounds.v1 import rounds_service_pb2_grpc

from mesh.leases import LEASES, Lease, lead
from mesh.records import Store, open_store
from mesh.runtime import Runtime, run
from services.insight.adapters.records import SETS, FactRecords
from services.insight.adapters.sources import streams
from services.insight.app.parts import Parts, World
from services.insight.config import InsightSettings
from services.insight.rpc.servicer import InsightServicer

SERVICE = "satreel.insight.v1.InsightService"
# What standbys of the ledger tell is as good here: insight listens, and decides nothing.
LEDGER_READS = "satreel.ledger.v1.LedgerService/reads"


async def main(settings: InsightSettings) -> None:
    """Composes the service and serves until stopped."""
    async with Runtime(settings) as runtime:
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        parts = Parts(world_of(runtime, store))
        serving = partial(runtime.health.set, SERVICE)
        lease = Lease(store, "insight", clock=runtime.clock)
        await runtime.add(
            insight_service_pb2_grpc.add_InsightServiceServicer_to_server,
            InsightServicer(parts.insight, parts.live),
            serving=False,
        )
        runtime.background(partial(lead, lease, lambda _: parts.leading.run(serving)), "lead", leads=True)
        await runtime.serve()


def world_of(runtime: Runtime, store: Store) -> World:
    """What insight stands on, as this process reaches it."""
    sources = streams(
        identity=identity_service_pb2_grpc.IdentityServiceStub(runtime.channel("identity")),
        content=content_service_pb2_grpc.ContentServiceStub(runtime.channel("content")),
        rounds=rounds_service_pb2_grpc.RoundsServiceStub(runtime.channel("rounds")),
        ledger=ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger", health=LEDGER_READS)),
        market=market_service_pb2_grpc.MarketServiceStub(runtime.channel("market")),
        chain=chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain")),
    )
    return World(sources=sources, facts=FactRecords(store), clock=runtime.clock)


if __name__ == "__main__":
    run(InsightSettings, main)
