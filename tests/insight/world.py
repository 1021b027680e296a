"""Insight over a real store and streams that tests speak on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import cast

from mesh.clock import NS_PER_S, ManualClock
from mesh.records import Store
from services.insight.adapters.records import FactRecords
from services.insight.app import parts
from services.insight.app.parts import Parts
from services.insight.app.ports import Heard
from services.insight.domain.facts import Batch, Fact
from tests.resting import RestingStore


class SpokenSource:
    """A stream that says what the test says, with cursors that may be forgotten."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: list[tuple[Batch, ...]] = []
        self._away: list[tuple[Batch, ...] | None] = []
        self.past: list[list[Batch]] = []
        self.forgets = False
        self.opened_at: list[str] = []
        self._more = asyncio.Event()

    def say(self, *batches: Batch) -> None:
        self.said.append(batches)
        self._wake()

    def say_away(self, *batches: Batch) -> None:
        """A snapshot of a source whose feed is away."""
        self._away.append(batches)
        self._wake()

    def breaks(self) -> None:
        """The stream ends."""
        self._away.append(None)
        self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()

    async def watch(self, cursor: str) -> AsyncGenerator[Heard, None]:
        self.opened_at.append(cursor)
        if not cursor or self.forgets:
            self.forgets = False
            cursor = str(len(self.said) if self.opened_at[0] != cursor or cursor else 0)
            yield Heard(cursor, fresh_start=True)
        at = int(cursor)
        while True:
            while at < len(self.said):
                at += 1
                yield Heard(str(at), self.said[at - 1])
            while self._away:
                batches = self._away.pop(0)
                if batches is None:
                    return
                yield Heard("", batches, fresh_start=True)
            await self._more.wait()

    async def backfill(self) -> AsyncGenerator[list[Batch], None]:
        for page in self.past:
            yield page


class World:
    """Insight as a process that can be ended and started again."""

    def __init__(self, store: Store, sources: Sequence[SpokenSource] = ()) -> None:
        self.clock = ManualClock()
        self.store = RestingStore(store)
        self.sources = sources
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.facts = FactRecords(cast("Store", self.store))
        one = Parts(parts.World(sources=self.sources, facts=self.facts, clock=self.clock))
        self.tallies, self.listening = one.tallies, one.listening
        self.insight, self.live = one.insight, one.live
        await self.tallies.load()
        await self.listening.load()
        self._tasks = [asyncio.create_task(self.listening.run())]
        await self.settle()

    def show_live(self) -> None:
        self._tasks.append(asyncio.create_task(self.live.run()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Lets everything run that can."""
        await self.store.rest()

    @property
    def now_s(self) -> int:
        return self.clock.now_ns() // NS_PER_S

    async def values(self, metric: str, start_s: int, end_s: int, step_s: int = 10) -> list[int]:
        found = await self.insight.one_series(
            metric, start_ns=start_s * NS_PER_S, end_ns=end_s * NS_PER_S, step_s=step_s
        )
        return found.values


def batch(key: str, at_s: float, *facts: tuple[str, int, str]) -> Batch:
    return Batch(key, round(at_s * NS_PER_S), tuple(Fact(*fact) for fact in facts))
