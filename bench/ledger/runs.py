"""The runs, each on records of its own: what is started, in which order it is loaded, what is kept of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from bench.ledger import metering, transfers
from bench.ledger.load import closed_loop, paced
from bench.ledger.past import write_idle_accounts, write_snapshot
from bench.ledger.peers.postgres import ABSENT, postgres_samples
from bench.ledger.plan import BATCH, Plan
from bench.ledger.results import (
    AT_ONCE,
    BATCHES,
    COLUMNS,
    EACH_SECOND,
    LEDGER,
    OPENED,
    PACED,
    POSTGRES,
    TWO_UPDATES,
    Recovery,
    Results,
    singles,
)
from bench.ledger.server import TWO_UPDATES as TWO_UPDATES_MODULE
from bench.ledger.server import Server, serving
from bench.ledger.site import Site

# What each start shows is taken when the process has calmed down.
SETTLE_S = 1.0
PEER_BATCHES_S_MAX = 20.0


class Runs:
    """A run of each kind. Results gather what they find."""

    def __init__(self, site: Site, plan: Plan, results: Results) -> None:
        self._site = site
        self._plan = plan
        self._results = results
        self._fill_s_left = plan.fill_s_max

    async def singles(self) -> None:
        """Single transfers at rising concurrency, on a ledger with little in it."""
        async with serving(self._site, "singles") as server:
            await self._singles(server, LEDGER)

    async def batches(self) -> None:
        """Batches on an empty ledger; its recovery by replay and from snapshots; a fixed pace."""
        plan, users = self._plan, transfers.people(self._plan.users)
        async with serving(self._site, "batches") as server:
            self._results.empty = await self._start(server, 0)
            await transfers.fund(server, users)
            await self._batches(server, LEDGER, users, plan.batches, plan.batches_s_max)
            await self._columns(server, users)
        made = sum(self._results.samples[load][LEDGER].operations for load in (BATCHES, COLUMNS))
        for goal in plan.recovered_transfers:
            made += await self._fill(users, goal - made)
            if self._results.replayed is None:
                async with serving(self._site, "batches") as server:
                    self._results.replayed = await self._start(server, made)
            await write_snapshot(self._site.folder / "batches")
            async with serving(self._site, "batches") as server:
                self._results.recoveries.append(await self._start(server, made))
                if PACED not in self._results.samples:
                    await self._paced(server, users)
            if made < goal:
                self._results.notes.append(
                    f"{goal:,} transfers were not made within {plan.fill_s_max:.0f} s."
                )

    async def metering(self) -> None:
        """Sessions and what they accrue."""
        async with serving(self._site, "metering", settings=metering.SETTINGS) as server:
            found = await metering.metered(self._site, server, self._plan)
        self._results.notes.append(
            f"{found.sessions:,} sessions stand in each report, one second each in a line."
        )
        self._results.add(OPENED, LEDGER, found.opened)
        self._results.add(AT_ONCE, LEDGER, found.at_once)
        self._results.add(EACH_SECOND, LEDGER, found.each_second)

    async def idle(self) -> None:
        """Memory of a ledger with many accounts after a restart: used long ago, and each used just now."""
        giver, *takers = transfers.people(self._plan.idle_accounts + 1)
        await write_idle_accounts(self._site.folder / "idle", giver, takers)
        async with serving(self._site, "idle") as server:
            self._results.idle = await self._start(server, len(takers))
        async with serving(self._site, "used") as server:
            await transfers.fund(server, [giver])
            parts = (takers[at : at + BATCH] for at in range(0, len(takers), BATCH))
            gifts = (transfers.gifts(giver, part) for part in parts)
            made = await self._all(server, gifts, self._plan.idle_s_max)
        async with serving(self._site, "used") as server:
            self._results.used = await self._start(server, made)
        if self._results.empty is None:
            async with serving(self._site, "nothing") as server:
                self._results.empty = await self._start(server, 0)

    async def two_updates(self) -> None:
        """The same load on the ledger of two updates."""
        users = transfers.people(self._plan.users)
        async with serving(self._site, "two-updates", module=TWO_UPDATES_MODULE) as server:
            await self._singles(server, TWO_UPDATES)
            await transfers.fund(server, users)
            await self._batches(server, TWO_UPDATES, users, self._plan.peer_batches, PEER_BATCHES_S_MAX)
        rows = self._results.samples[BATCHES][TWO_UPDATES]
        self._results.add(COLUMNS, f"{TWO_UPDATES}, batches of 1,000", rows)

    async def postgres(self) -> None:
        """The same transfers in PostgreSQL, one by one: it has no batches."""
        seconds = max(2, round(self._plan.load_s_max))
        found = await postgres_samples(self._plan.users, self._plan.postgres_clients, seconds)
        if found is None:
            self._results.notes.append(f"PostgreSQL: {ABSENT}.")
            return
        for clients, sample in found.items():
            self._results.add(singles(clients), POSTGRES, sample)
        best = max(found, key=lambda clients: found[clients].rate)
        self._results.add(BATCHES, f"{POSTGRES}, one by one, {best} in flight", found[best])

    async def _singles(self, server: Server, system: str) -> None:
        users = transfers.people(self._plan.users)
        await transfers.fund(server, users)
        call = transfers.transfer_call(server)
        for in_flight, count in self._plan.singles:
            ready = list(transfers.requests(users, count, size=1))
            sample = await closed_loop(
                server, call, ready, in_flight=in_flight, seconds_max=self._plan.load_s_max
            )
            self._results.add(singles(in_flight), system, sample)

    async def _batches(
        self, server: Server, system: str, users: list[str], count: int, seconds_max: float
    ) -> None:
        ready = list(transfers.requests(users, count))
        sample = await closed_loop(
            server,
            transfers.transfer_call(server),
            ready,
            in_flight=self._plan.batches_in_flight,
            seconds_max=seconds_max,
            each=BATCH,
        )
        self._results.add(BATCHES, system, sample)

    async def _columns(self, server: Server, users: list[str]) -> None:
        """Batches again, told in columns; the others have no such call and are compared by what they have."""
        ready = list(transfers.column_requests(users, self._plan.batches))
        sample = await closed_loop(
            server,
            transfers.column_call(server),
            ready,
            in_flight=self._plan.batches_in_flight,
            seconds_max=self._plan.batches_s_max,
            each=BATCH,
        )
        self._results.add(COLUMNS, LEDGER, sample)

    async def _paced(self, server: Server, users: list[str]) -> None:
        per_s = self._plan.paced_per_s
        ready = list(transfers.requests(users, per_s * self._plan.paced_s, size=1))
        call = transfers.transfer_call(server)
        await paced(server, call, ready[:per_s], per_s=per_s)
        self._results.add(PACED, LEDGER, await paced(server, call, ready[per_s:], per_s=per_s))

    async def _fill(self, users: list[str], count: int) -> int:
        """Makes so many transfers more, as far as the time goes; how many it were."""
        if count <= 0 or self._fill_s_left <= 0:
            return 0
        begun_s = time.perf_counter()
        async with serving(self._site, "batches") as server:
            made = await self._all(server, transfers.requests(users, count // BATCH), self._fill_s_left)
        self._fill_s_left -= time.perf_counter() - begun_s
        return made

    async def _all(self, server: Server, requests: Iterator[bytes], seconds_max: float) -> int:
        sample = await closed_loop(
            server,
            transfers.transfer_call(server),
            requests,
            in_flight=self._plan.batches_in_flight,
            seconds_max=seconds_max,
            each=BATCH,
        )
        return sample.operations

    async def _start(self, server: Server, transfers_made: int) -> Recovery:
        await asyncio.sleep(SETTLE_S)
        return Recovery(transfers_made, server.started_in_s, server.resident_bytes())
