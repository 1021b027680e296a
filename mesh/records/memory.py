"""Records in memory: for tests, with the promises of the port except that nothing outlives the process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from mesh.records.errors import Exists, Missing, Stale
from mesh.records.port import PAGE_MAX, Bins, Catalogue, Record, SetSpec


class MemoryStore:
    """A `Store`. Each operation lets other tasks run once before it takes effect."""

    def __init__(self, sets: Iterable[SetSpec]) -> None:
        self._catalogue = Catalogue(sets)
        self._sets: dict[str, dict[str, Record]] = {name: {} for name in self._catalogue.specs}

    async def get(self, set_name: str, key: str) -> Record | None:
        """The record, or None."""
        self._catalogue.check_key(set_name, key)
        await asyncio.sleep(0)
        return self._sets[set_name].get(key)

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        """Those of the records that exist, by key."""
        self._catalogue.check_keys(set_name, keys)
        await asyncio.sleep(0)
        records = self._sets[set_name]
        return {key: records[key] for key in keys if key in records}

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        """Writes a record that does not exist yet."""
        kept = self._catalogue.checked(set_name, key, bins)
        await asyncio.sleep(0)
        if key in self._sets[set_name]:
            raise Exists
        self._sets[set_name][key] = Record(key, kept, 1)
        return 1

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        """Replaces the record if it still has this generation."""
        kept = self._catalogue.checked(set_name, key, bins)
        await asyncio.sleep(0)
        record = self._sets[set_name].get(key)
        if record is None:
            raise Missing
        if record.generation != generation:
            raise Stale
        self._sets[set_name][key] = Record(key, kept, generation + 1)
        return generation + 1

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
        """Records whose indexed bin has this value, in the order of keys."""
        self._catalogue.check_page(set_name, limit, after)
        wanted = self._catalogue.checked_index(set_name, bin_name, value)
        await asyncio.sleep(0)
        found = [record for record in self._sets[set_name].values() if record.bins.get(bin_name) == wanted]
        return page(found, after=after, limit=limit, descending=descending)

    async def scan(
        self,
        set_name: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        """Records whose keys begin with `prefix`, in the order of keys."""
        self._catalogue.check_page(set_name, limit, after, prefix)
        await asyncio.sleep(0)
        found = [record for key, record in self._sets[set_name].items() if key.startswith(prefix)]
        return page(found, after=after, limit=limit, descending=descending)

    async def delete(self, set_name: str, key: str) -> None:
        """Removes the record, if there is one."""
        self._catalogue.check_key(set_name, key)
        await asyncio.sleep(0)
        self._sets[set_name].pop(key, None)


def page(records: Iterable[Record], *, after: str, limit: int, descending: bool) -> list[Record]:
    """One page of unordered records in the order of keys."""
    behind = [r for r in records if not after or (r.key < after if descending else r.key > after)]
    return sorted(behind, key=lambda record: record.key, reverse=descending)[:limit]
