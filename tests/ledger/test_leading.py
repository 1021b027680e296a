"""Two instances over one real store and its lease."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from mesh.clock import NS_PER_S, ManualClock
from mesh.leases import LEASES, Lease
from mesh.records import Store
from mesh.records.sqlite import open_sqlite
from services.ledger.adapters.election import LEASE, LeaseElection
from services.ledger.adapters.journal import SETS, StoreJournal
from services.ledger.app.journal import Author
from services.ledger.app.leadership import keep_leading
from services.ledger.app.ledger import Ledger
from services.ledger.app.verify import verify
from services.ledger.domain.commands import Command
from services.ledger.domain.machine import Answer, Machine
from services.ledger.rpc.read import read_command
from tests.ledger.stores import Told, alone
from tests.ledger.test_journal import deposit, hold, pay
from tests.resting import RestingStore

TTL_S = 0.6
STEP_S = 0.02


class SetClock(ManualClock):
    """Somebody sets it."""

    set_by_s = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.set_by_s * NS_PER_S


class Site:
    """A real store, and time that passes only while nobody waits for it: a slow machine loses no lease."""

    def __init__(self, store: Store) -> None:
        self.clock = SetClock()
        self._resting = RestingStore(store)
        self.store = cast("Store", self._resting)

    async def pass_time(self, seconds: float, step_s: float = STEP_S) -> None:
        await self._resting.pass_time(self.clock, seconds, step_s=step_s)

    async def until(self, event: asyncio.Event) -> None:
        while not event.is_set():
            await self.pass_time(STEP_S)


@asynccontextmanager
async def opened_site(folder: Path) -> AsyncIterator[Site]:
    async with open_sqlite(folder / "ledger.sqlite", (*SETS, LEASES)) as store:
        yield Site(store)


@asynccontextmanager
async def candidate(site: Site) -> AsyncIterator[tuple[Ledger, asyncio.Event, asyncio.Task[None]]]:
    """A ledger that leads whenever it can."""
    store, clock, leads = site.store, site.clock, asyncio.Event()
    journal = StoreJournal(store, clock, read_command)
    ledger = Ledger(journal, Told(), clock, queue_max=100, session_silence_s=10)

    async def serving(yes: bool) -> None:
        leads.set() if yes else leads.clear()

    election = LeaseElection(Lease(store, LEASE, clock=clock, ttl_s=TTL_S))

    async def stands_by_or_leads() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ledger.follow())
            group.create_task(keep_leading(ledger, election, serving, clock))

    task = asyncio.create_task(stands_by_or_leads())
    try:
        yield ledger, leads, task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_standby_takes_over(tmp_path: Path) -> None:
    async with opened_site(tmp_path) as site:
        async with candidate(site) as (first, first_leads, first_task):
            await site.until(first_leads)
            await first.submit(deposit(1))
            async with candidate(site) as (second, second_leads, _):
                await site.pass_time(2 * TTL_S)
                assert (first.leading, second.leading) == (True, False)
                first_task.cancel()
                await site.until(second_leads)
                assert not first.leading
                await second.submit(pay("t", 10))
                totals = await second.ask(lambda machine, head: (machine.books.sums(), head.sequence))
                assert totals == ({"sat": 0}, 4)
        found = await verify(alone(StoreJournal(site.store, site.clock, read_command)))
        assert (found.problems, found.head.sequence, found.totals.users) == ((), 4, 1_000)


async def test_what_takes_long_ends_no_reign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Machine.apply
    begun, may_end = threading.Event(), threading.Event()

    def apply_slowly(machine: Machine, command: Command) -> Answer:
        begun.set()
        assert may_end.wait(60)
        return apply(machine, command)

    monkeypatch.setattr(Machine, "takes_long", lambda _, commands: bool(commands))
    monkeypatch.setattr(Machine, "apply", apply_slowly)
    async with opened_site(tmp_path) as site, candidate(site) as (ledger, leads, _):
        await site.until(leads)
        submitted = asyncio.create_task(ledger.submit(deposit(1)))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        await site.pass_time(3 * TTL_S)
        assert not submitted.done()
        may_end.set()
        await submitted
        assert ledger.leading
        assert ledger.standing.sequence == 2


async def test_a_clock_that_was_wrong_for_a_moment_delays_nothing_for_long(tmp_path: Path) -> None:
    async with opened_site(tmp_path) as site:
        journal, leads = StoreJournal(site.store, site.clock, read_command), asyncio.Event()
        ledger = Ledger(journal, Told(), site.clock, queue_max=100, session_silence_s=10)

        async def serving(yes: bool) -> None:
            leads.set() if yes else leads.clear()

        reign = asyncio.create_task(ledger.reign(Author("one", 1), serving, lambda: True))
        await leads.wait()
        await ledger.submit(deposit(1))
        await ledger.submit(hold("h", 10, lasts_s=60))
        site.clock.set_by_s = -3_600
        # Now it waits for the hold's end by a wrong clock, and nothing else happens.
        await ledger.submit(pay("t", 10))
        site.clock.set_by_s = 0
        held = []
        for _ in range(2):
            await site.pass_time(40, step_s=5)
            held.append(await ledger.ask(lambda machine, _: sum(machine.books.held)))
        assert held == [10, 0]
        reign.cancel()
        await asyncio.wait([reign])
