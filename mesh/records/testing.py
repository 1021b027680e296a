"""A store that misbehaves by the book: what services meet on a bad day, repeatable by its seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from mesh.errors import Failure
from mesh.records.errors import Busy, InDoubt, StoreUnavailable
from mesh.records.port import PAGE_MAX, Bins, Record, Store

# Writes in doubt that may still happen; the oldest is then forgotten.
LATE_MAX = 16

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong, each from 0 to 1. The last three befall writes only, and answer InDoubt."""

    busy: float = 0.0
    unavailable: float = 0.0
    in_doubt_applied: float = 0.0
    in_doubt_lost: float = 0.0
    in_doubt_late: float = 0.0


class FaultyStore:
    """A `Store` in front of another. `faults` may be changed at any time."""

    def __init__(self, store: Store, faults: Faults, random: Random) -> None:
        self.faults = faults
        self._store = store
        self._random = random
        self._late: deque[Callable[[], Awaitable[object]]] = deque(maxlen=LATE_MAX)

    async def get(self, set_name: str, key: str) -> Record | None:
        """As the store behind, or a failure."""
        return await self._read(lambda: self._store.get(set_name, key))

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        """As the store behind, or a failure."""
        return await self._read(lambda: self._store.get_many(set_name, keys))

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        """As the store behind, or a failure."""
        return await self._write(lambda: self._store.create(set_name, key, bins))

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        """As the store behind, or a failure."""
        return await self._write(lambda: self._store.put_if(set_name, key, bins, generation))

    async def query_eq(
        self,
        set_name: str,
        bin_name: str,
        value: str | int,
        *,
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        """As the store behind, or a failure."""
        return await self._read(
            lambda: self._store.query_eq(
                set_name, bin_name, value, after=after, limit=limit, descending=descending
            )
        )

    async def scan(
        self,
        set_name: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        """As the store behind, or a failure."""
        return await self._read(
            lambda: self._store.scan(set_name, prefix=prefix, after=after, limit=limit, descending=descending)
        )

    async def delete(self, set_name: str, key: str) -> None:
        """As the store behind, or a failure."""
        await self._write(lambda: self._store.delete(set_name, key))

    async def _read(self, operation: Callable[[], Awaitable[Result]]) -> Result:
        await self._before()
        return await operation()

    async def _write(self, operation: Callable[[], Awaitable[Result]]) -> Result:
        await self._before()
        if self._happens(self.faults.in_doubt_lost):
            raise InDoubt("never arrived")
        if self._happens(self.faults.in_doubt_late):
            self._late.append(operation)
            raise InDoubt("still on its way")
        result = await operation()
        if self._happens(self.faults.in_doubt_applied):
            raise InDoubt("done, but the answer was lost")
        return result

    async def _before(self) -> None:
        while self._late and self._happens(0.5):
            with suppress(Failure):
                await self._late.popleft()()
        if self._happens(self.faults.busy):
            raise Busy
        if self._happens(self.faults.unavailable):
            raise StoreUnavailable

    def _happens(self, chance: float) -> bool:
        return self._random.random() < chance
