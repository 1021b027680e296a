"""Two instances over one real store and its lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from mesh.leases import LEASES, Lease
from mesh.records import Store
from mesh.records.sqlite import open_sqlite
from services.ledger.adapters.election import LEASE, LeaseElection
from services.ledger.adapters.journal import SETS, StoreJournal
from services.ledger.app.leadership import keep_leading
from services.ledger.app.ledger import Ledger
from services.ledger.app.verify import verify
from services.ledger.domain.commands import Command
from services.ledger.domain.machine import Answer, Machine
from services.ledger.rpc.read import read_command
from tests.ledger.stores import Told, alone
from tests.ledger.test_journal import deposit, pay

TTL_S = 0.6


@asynccontextmanager
async def candidate(store: Store) -> AsyncIterator[tuple[Ledger, asyncio.Event, asyncio.Task[None]]]:
    """A ledger that leads whenever it can."""
    clock, leads = SystemClock(), asyncio.Event()
    journal = StoreJournal(store, clock, read_command)
    ledger = Ledger(journal, Told(), clock, queue_max=100, session_silence_s=10)

    async def serving(yes: bool) -> None:
        leads.set() if yes else leads.clear()

    election = LeaseElection(Lease(store, LEASE, clock=clock, ttl_s=TTL_S))
    task = asyncio.create_task(keep_leading(ledger, election, serving, clock))
    try:
        yield ledger, leads, task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_standby_takes_over(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "ledger.sqlite", (*SETS, LEASES)) as store:
        async with candidate(store) as (first, first_leads, first_task):
            await first_leads.wait()
            await first.submit(deposit(1))
            async with candidate(store) as (second, second_leads, _):
                await asyncio.sleep(2 * TTL_S)
                assert (first.leading, second.leading) == (True, False)
                first_task.cancel()
                await second_leads.wait()
                assert not first.leading
                await second.submit(pay("t", 10))
                totals = await second.ask(lambda machine, head: (machine.books.sums(), head.sequence))
                assert totals == ({"sat": 0}, 4)
        found = await verify(alone(StoreJournal(store, SystemClock(), read_command)))
        assert (found.problems, found.head.sequence, found.totals.users) == ((), 4, 1_000)


async def test_what_takes_long_ends_no_reign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Machine.apply

    def apply_slowly(machine: Machine, command: Command) -> Answer:
        until_s = time.monotonic() + 3 * TTL_S
        while time.monotonic() < until_s:
            pass
        return apply(machine, command)

    monkeypatch.setattr(Machine, "takes_long", lambda _, commands: bool(commands))
    monkeypatch.setattr(Machine, "apply", apply_slowly)
    async with (
        open_sqlite(tmp_path / "ledger.sqlite", (*SETS, LEASES)) as store,
        candidate(store) as (ledger, leads, _),
    ):
        await leads.wait()
        await ledger.submit(deposit(1))
        assert ledger.leading
        assert ledger.standing.sequence == 2
