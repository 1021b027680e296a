"""Listening to the other services. Runs on the leader."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mesh.clock import Clock
from mesh.following import follow
from mesh.logs import logger
from services.insight.app.ports import Facts, Heard, Resume, Source
from services.insight.app.tallies import Tallies
from services.insight.domain.facts import NS_PER_S, Batch, Fact

log = logger(__name__)

# Cursors are written at most this often per stream; what follows an older one is only heard again.
CURSOR_EVERY_NS = NS_PER_S


class Listening:
    """Follows all sources and keeps what they say."""

    def __init__(self, *, sources: Sequence[Source], facts: Facts, tallies: Tallies, clock: Clock) -> None:
        self._sources = sources
        self._facts = facts
        self._tallies = tallies
        self._clock = clock
        self._resumes: dict[str, Resume] = {}
        self.changed = asyncio.Event()

    async def load(self) -> None:
        """Reads where the streams are resumed. Raises the store's errors."""
        for source in self._sources:
            self._resumes[source.name] = await self._facts.resume(source.name)

    async def run(self) -> None:
        """Listens until cancelled."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(self._follow(source), name=f"follow {source.name}")

    def complete_until_ns(self) -> int:
        """Until when everything was heard from every source; 0 when one was never heard."""
        return min((resume.heard_ns for resume in self._resumes.values()), default=0)

    async def _follow(self, source: Source) -> None:
        async def take(heard: Heard) -> None:
            await self._take(source, heard)

        await follow(
            source.name,
            source.watch,
            take,
            clock=self._clock,
            cursor=self._resumes[source.name].cursor,
        )

    async def _take(self, source: Source, heard: Heard) -> None:
        known, now_ns = self._resumes[source.name], self._clock.now_ns()
        if not heard.cursor:
            # It cannot be resumed from here, for its feed is away: what happens meanwhile is not heard.
            await self._tallies.take(heard.batches)
            return
        if heard.fresh_start and known.heard_ns:
            await self._bridge(source, known)
        if await self._tallies.take(heard.batches):
            self.changed.set()
        resume = Resume(heard.cursor, now_ns)
        if heard.fresh_start or now_ns - known.heard_ns >= CURSOR_EVERY_NS or not known.heard_ns:
            await self._facts.keep_resume(source.name, resume)
            self._resumes[source.name] = resume

    async def _bridge(self, source: Source, known: Resume) -> None:
        """Events may have been lost: says so, once a gap, and reads what can still be read."""
        if known.cursor:
            log.warning("events may have been lost", source=source.name, since_ns=known.heard_ns)
            fact = Fact("insight.gaps", 1, source.name)
            gap = Batch(f"insight/gap.{source.name}.{known.heard_ns}", known.heard_ns, (fact,))
            await self._tallies.take([gap])
        async for page in source.backfill():
            # What is older than a page of nothing new was known before.
            if not await self._tallies.take(page):
                break
        self.changed.set()
