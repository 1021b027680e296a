"""Where the process may die, and a store in which it may at every write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mesh.errors import Failure
from mesh.records import Bins, Exists, InDoubt, Missing, Record, Stale, Value


class Crash(BaseException):
    """The process dies here."""


class Faults:
    """Counts the places where the process could die, and lets it die at one of them."""

    def __init__(self) -> None:
        self.passed = 0
        self.crash_at: int | None = None
        # The store fails here, with this.
        self.fail_at: int | None = None
        self.failure: type[Failure] = InDoubt
        self.failed = 0

    async def point(self) -> None:
        await asyncio.sleep(0)
        at, self.passed = self.passed, self.passed + 1
        if at == self.crash_at:
            raise Crash

    async def write_point(self, *, written: bool) -> None:
        """In the store, before or after a write."""
        await self.point()
        if self.passed - 1 == self.fail_at and (not written or self.failure is InDoubt):
            self.failed += 1
            raise self.failure


class MemoryStore:
    """The store port over dictionaries; outlives the process that crashes."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._sets: dict[str, dict[str, Record]] = {}

    def _set(self, name: str) -> dict[str, Record]:
        return self._sets.setdefault(name, {})

    async def get(self, set_name: str, key: str) -> Record | None:
        await self._faults.point()
        return self._set(set_name).get(key)

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        await self._faults.point()
        return {key: self._set(set_name)[key] for key in keys if key in self._set(set_name)}

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        await self._faults.write_point(written=False)
        if key in self._set(set_name):
            raise Exists
        self._write(set_name, key, bins, 1)
        await self._faults.write_point(written=True)
        return 1

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        await self._faults.write_point(written=False)
        found = self._set(set_name).get(key)
        if found is None:
            raise Missing
        if found.generation != generation:
            raise Stale
        self._write(set_name, key, bins, generation + 1)
        await self._faults.write_point(written=True)
        return generation + 1

    def _write(self, set_name: str, key: str, bins: Bins, generation: int) -> None:
        kept: dict[str, Value] = {name: value for name, value in bins.items() if value is not None}
        self._set(set_name)[key] = Record(key, kept, generation)

    async def query_eq(
        self,
        set_name: str,
        bin_name: str,
        value: str | int,
        *,
        after: str = "",
        limit: int = 1_000,
        descending: bool = False,
    ) -> list[Record]:
        page = await self.scan(set_name, after=after, limit=10**9, descending=descending)
        return [found for found in page if found.bins.get(bin_name) == value][:limit]

    async def scan(
        self,
        set_name: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 1_000,
        descending: bool = False,
    ) -> list[Record]:
        await self._faults.point()
        keys = sorted(self._set(set_name), reverse=descending)
        behind = [key for key in keys if not after or (key < after if descending else key > after)]
        return [self._set(set_name)[key] for key in behind if key.startswith(prefix)][:limit]

    async def delete(self, set_name: str, key: str) -> None:
        self._set(set_name).pop(key, None)
