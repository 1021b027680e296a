"""Facts in, chunks out: the only writer. Facts are the truth; chunks are counted from them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from mesh.clock import Clock
from mesh.records import InDoubt
from services.insight.app.ports import Facts
from services.insight.domain.facts import NS_PER_S, Batch
from services.insight.domain.series import CHUNK_S, Chunk

# Chunks held in memory: a day.
HELD_MAX = 144
# A chunk is counted for good once it ended this long ago; later facts make it be counted again.
SETTLED_S = 120
# Ids of facts lately kept, to spare the store what streams repeat.
RECENT_MAX = 10_000
NEVER = 1 << 62


class Tallies:
    """Keeps facts once each, and counts them by chunk."""

    def __init__(self, facts: Facts, clock: Clock) -> None:
        self._facts = facts
        self._clock = clock
        # Taking facts in and counting exclude each other: a chunk is counted whole or not at all.
        self._lock = asyncio.Lock()
        self._held: OrderedDict[int, Chunk] = OrderedDict()
        self._recent: OrderedDict[str, None] = OrderedDict()
        # Ids of facts whose writing had an unknown outcome: they may be there without having been counted.
        self._doubted: set[str] = set()
        self.began = NEVER

    async def load(self) -> None:
        """Begins to lead: forgets what another may have changed, reads where facts begin."""
        self._held.clear()
        self._recent.clear()
        began = await self._facts.began()
        self.began = NEVER if began is None else began

    async def take(self, batches: Iterable[Batch]) -> int:
        """Keeps those that are new and counts them; returns how many were. Raises the store's errors."""
        new = [batch for batch in batches if batch.id not in self._recent]
        if not new:
            return 0
        async with self._lock:
            numbers = {_chunk_of(batch) for batch in new}
            await self._make_room(numbers)
            # All have ended before anybody counts: one in doubt must not leave others on their way.
            ended = await asyncio.gather(*(self._keep(batch) for batch in new), return_exceptions=True)
        for problem in ended:
            if isinstance(problem, BaseException):
                raise problem
        return sum(is_new is True for is_new in ended)

    async def chunks(self, numbers: range) -> list[Chunk]:
        """The chunks with these numbers that are not in the future, in order. Raises the store's errors."""
        newest = self._clock.now_ns() // NS_PER_S // CHUNK_S
        wanted = range(max(numbers.start, self.began), min(numbers.stop, newest + 1))
        found = {number: self._held[number] for number in wanted if number in self._held}
        found |= await self._facts.chunks([number for number in wanted if number not in found])
        for number in wanted:
            if number not in found:
                found[number] = await self._counted(number)
        return [found[number] for number in wanted]

    async def _make_room(self, numbers: set[int]) -> None:
        """Before the facts are written: no counted chunk may outlive a fact that it lacks."""
        first = min(numbers)
        if first < self.began:
            await self._facts.keep_began(first)
            self.began = first
        settled = [number for number in numbers if self._settled(number)]
        for number in await self._facts.chunks(settled) if settled else ():
            await self._facts.drop_chunk(number)

    async def _keep(self, batch: Batch) -> bool:
        number = _chunk_of(batch)
        try:
            is_new = await self._facts.create(batch)
        except InDoubt:
            self._doubted.add(batch.id)
            raise
        # What was there already may have been written by another, after this was counted.
        if batch.id in self._doubted or not is_new:
            self._held.pop(number, None)
            self._doubted.discard(batch.id)
        elif number in self._held:
            self._held[number].add(batch)
        self._recent[batch.id] = None
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)
        return is_new

    async def _counted(self, number: int) -> Chunk:
        """Counts a chunk from its facts; keeps it in the store when it has settled, else in memory."""
        async with self._lock:
            if number in self._held:
                return self._held[number]
            chunk = Chunk(number)
            for batch in await self._facts.in_chunk(number):
                chunk.add(batch)
            if not self._settled(number) or not await self._facts.keep_chunk(chunk):
                self._held[number] = chunk
            if len(self._held) > HELD_MAX:
                self._held.popitem(last=False)
            return chunk

    def _settled(self, number: int) -> bool:
        return (number + 1) * CHUNK_S + SETTLED_S < self._clock.now_ns() // NS_PER_S


def _chunk_of(batch: Batch) -> int:
    return batch.at_ns // NS_PER_S // CHUNK_S
