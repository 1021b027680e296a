"""Starts insight. Reads as a recipe."""

from __future__ import annotations

import asyncio

from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.content.v1 import content_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2_grpc
from satreel.insight.v1 import insight_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc
from satreel.market.v1 import market_service_pb2_grpc
from satreel.rounds.v1 import rounds_service_pb2_grpc

from mesh.leases import LEASES, Leadership, Lease, lead
from mesh.records import open_store
from mesh.runtime import Runtime, run
from services.insight.adapters.records import SETS, FactRecords
from services.insight.adapters.sources import streams
from services.insight.app.listening import Listening
from services.insight.app.live import Live
from services.insight.app.service import Insight
from services.insight.app.tallies import Tallies
from services.insight.config import InsightSettings
from services.insight.rpc.servicer import InsightServicer

SERVICE = "satreel.insight.v1.InsightService"
# What standbys of the ledger tell is as good here: insight listens, and decides nothing.
LEDGER_READS = "satreel.ledger.v1.LedgerService/reads"


async def main(settings: InsightSettings) -> None:
    """Runs insight until told to stop."""
    async with Runtime(settings) as runtime:
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        facts = FactRecords(store)
        sources = streams(
            identity=identity_service_pb2_grpc.IdentityServiceStub(runtime.channel("identity")),
            content=content_service_pb2_grpc.ContentServiceStub(runtime.channel("content")),
            rounds=rounds_service_pb2_grpc.RoundsServiceStub(runtime.channel("rounds")),
            ledger=ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger", health=LEDGER_READS)),
            market=market_service_pb2_grpc.MarketServiceStub(runtime.channel("market")),
            chain=chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain")),
        )
        tallies = Tallies(facts, runtime.clock)
        listening = Listening(sources=sources, facts=facts, tallies=tallies, clock=runtime.clock)
        insight = Insight(facts=facts, tallies=tallies, listening=listening, clock=runtime.clock)
        live = Live(insight, runtime.clock)

        async def listen(_: Leadership) -> None:
            await tallies.load()
            await listening.load()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(listening.run())
                    group.create_task(live.run())
                    await runtime.health.set(SERVICE, True)
            finally:
                await runtime.health.set(SERVICE, False)

        async def elected() -> None:
            await lead(Lease(store, "insight", clock=runtime.clock), listen)

        await runtime.add(
            insight_service_pb2_grpc.add_InsightServiceServicer_to_server,
            InsightServicer(insight, live),
            serving=False,
        )
        runtime.background(elected, "lead", leads=True)
        await runtime.serve()


if __name__ == "__main__":
    run(InsightSettings, main)
