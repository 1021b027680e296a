"""Starts the ledger, or with `verify` checks its journal. Reads as a recipe."""

from __future__ import annotations

import asyncio
import sys

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
from services.ledger.app.verify import verify
from services.ledger.config import LedgerSettings
from services.ledger.rpc import show
from services.ledger.rpc.read import read_command
from services.ledger.rpc.reading import READS
from services.ledger.rpc.servicer import LedgerServicer

SERVICE = "satreel.ledger.v1.LedgerService"


async def main(settings: LedgerSettings) -> None:
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


async def check(settings: LedgerSettings) -> int:
    """Verifies the journal and prints what was found; the exit code is 0 when all is well."""
    async with open_store(settings, SETS) as store:
        found = await verify(StoreJournal(store, SystemClock(), read_command))
    totals = found.totals
    lines = [
        f"records   {found.head.sequence}",
        f"hash      {found.head.hash.hex()}",
        f"state     {found.digest}",
        f"postings  {totals.postings}",
        f"sum       {totals.sum} sat",
        f"users     {totals.users} sat",
        f"platform  {totals.platform} sat",
        f"rounds    {totals.rounds} sat",
        f"debts     {totals.debts} sat",
        f"coins     {totals.coins_owed} sat owed by the hot wallet",
        *(f"PROBLEM   {problem}" for problem in found.problems),
        "all is well" if not found.problems else f"{len(found.problems)} problems",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found.problems else 0


VERIFY_HELP = """python -m services.ledger verify

Replays the whole journal, changing nothing, and checks: the chain of hashes, that every record replays to
the same answers, that each asset sums to zero, that no guarded account is below zero, that balances are what
postings and holds make them. Exits with 0 when all is well, else with 1. Settings as for the service.

"""

if __name__ == "__main__":
    if sys.argv[1:2] != ["verify"]:
        run(LedgerSettings, main)
    else:
        if {"--help", "-h"} & set(sys.argv[2:]):
            sys.stdout.write(VERIFY_HELP)
        raise SystemExit(asyncio.run(check(config.load(LedgerSettings, sys.argv[2:]))))
