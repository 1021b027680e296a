"""Starts the ledger, or one of its commands. Reads as a recipe."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from satreel.ledger.v1 import ledger_service_pb2_grpc

from mesh import config
from mesh.clock import SystemClock
from mesh.feeds import open_feed
from mesh.leases import LEASES, Lease
from mesh.records import open_store
from mesh.runtime import Runtime, run
from services.ledger.adapters.election import LEASE, LeaseElection
from services.ledger.adapters.journal import SETS, StoreJournal
from services.ledger.adapters.news import FEED, FeedNews
from services.ledger.app.leadership import keep_leading, keep_telling_readable
from services.ledger.app.ledger import Ledger
from services.ledger.command_line.command import Root
from services.ledger.command_line.main import main as run_command
from services.ledger.config import LedgerSettings
from services.ledger.rpc import show
from services.ledger.rpc.read import read_command
from services.ledger.rpc.reading import READS
from services.ledger.rpc.servicer import LedgerServicer

SERVICE = "satreel.ledger.v1.LedgerService"


async def serve(settings: LedgerSettings) -> None:
    """Composes the service and serves until stopped."""
    async with Runtime(settings) as runtime:
        clock = runtime.clock
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        election = LeaseElection(Lease(store, LEASE, clock=clock, ttl_s=settings.lease_ttl_s))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED))
        ledger = Ledger(
            StoreJournal(store, clock, read_command),
            FeedNews(feed, show.event),
            clock,
            queue_max=settings.queue_max,
            session_silence_s=settings.session_silence_s,
            horizon_days=settings.id_horizon_days,
            staleness_s_max=settings.read_staleness_max_s,
        )

        async def serving(yes: bool) -> None:
            await runtime.health.set(SERVICE, yes)

        async def lead() -> None:
            await keep_leading(ledger, election, serving, clock)

        async def readable(yes: bool) -> None:
            await runtime.health.set(READS, yes)

        async def tell_readable() -> None:
            await keep_telling_readable(ledger, readable, clock)

        servicer = LedgerServicer(ledger, feed)
        await runtime.add(
            ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server, servicer, serving=False
        )
        runtime.background(lead, "lead")
        runtime.background(tell_readable, "tell readable")
        await runtime.serve()


@asynccontextmanager
async def open_journal() -> AsyncIterator[StoreJournal]:
    """The journal, for commands that only read it."""
    async with open_store(config.load(LedgerSettings, []), SETS) as store:
        yield StoreJournal(store, SystemClock(), read_command)


def main() -> NoReturn:
    """The console command `satreel-ledger`."""
    root = Root(serve=lambda: run(LedgerSettings, serve, []), journal=open_journal)
    raise SystemExit(run_command(root, sys.argv[1:]))


if __name__ == "__main__":
    main()
