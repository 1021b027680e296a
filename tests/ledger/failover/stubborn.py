"""A ledger process whose lease never tells it that it lost: only the journal can stop it. For tests.

It waits for the lease as any other, but once elected it believes to be in office for ever, as a process would
whose clock stands still or whose store forgot an acknowledged write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from satreel.ledger.v1 import ledger_service_pb2_grpc

from mesh.clock import Clock
from mesh.errors import Failure
from mesh.feeds import open_feed
from mesh.leases import LEASES, Lease
from mesh.records import open_store
from mesh.runtime import Runtime, run
from services.ledger.adapters.election import LEASE
from services.ledger.adapters.journal import SETS, StoreJournal
from services.ledger.adapters.news import FEED, FeedNews
from services.ledger.app.journal import Author
from services.ledger.app.leadership import keep_leading, keep_telling_readable
from services.ledger.app.ledger import Ledger
from services.ledger.config import LedgerSettings
from services.ledger.rpc import show
from services.ledger.rpc.read import read_command
from services.ledger.rpc.reading import READS
from services.ledger.rpc.servicer import LedgerServicer

SERVICE = "satreel.ledger.v1.LedgerService"


class StubbornElection:
    """Elected once, it never hears of being deposed."""

    def __init__(self, lease: Lease, clock: Clock) -> None:
        self._lease = lease
        self._clock = clock

    async def lead(self, reign: Callable[[Author, Callable[[], bool]], Awaitable[None]]) -> None:
        while not await self._lease.acquire():
            await self._clock.sleep(self._lease.ttl_s / 10)
        renewing = asyncio.create_task(self._renew())
        try:
            await reign(Author(self._lease.owner, self._lease.token), lambda: True)
        finally:
            renewing.cancel()

    async def _renew(self) -> None:
        """Does not care whether it still can."""
        while True:
            with suppress(Failure):
                await self._lease.renew()
            await self._clock.sleep(self._lease.ttl_s / 4)


async def main(settings: LedgerSettings) -> None:
    """As the service's own, but for the election."""
    async with Runtime(settings) as runtime:
        clock = runtime.clock
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED))
        election = StubbornElection(Lease(store, LEASE, clock=clock, ttl_s=settings.lease_ttl_s), clock)
        journal = StoreJournal(store, clock, read_command)
        ledger = Ledger(journal, FeedNews(feed, show.event), clock, queue_max=1_000, session_silence_s=10)

        async def serving(yes: bool) -> None:
            await runtime.health.set(SERVICE, yes)

        async def readable(yes: bool) -> None:
            await runtime.health.set(READS, yes)

        adder = ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server
        await runtime.add(adder, LedgerServicer(ledger, feed), serving=False)
        runtime.background(ledger.follow, "follow")
        runtime.background(lambda: keep_leading(ledger, election, serving, clock), "lead", leads=True)
        runtime.background(lambda: keep_telling_readable(ledger, readable, clock), "tell readable")
        await runtime.serve()


if __name__ == "__main__":
    run(LedgerSettings, main)
