"""What the store really holds: the port of records at its simplest. It never waits and never fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mesh.records import Exists, Record, SetSpec, Stale
from mesh.records.memory import page
from mesh.records.port import PAGE_MAX, Bins, Catalogue


class Truth:
    """A `Store` whose every operation happens at one instant."""

    def __init__(self, sets: Sequence[SetSpec]) -> None:
        self.catalogue = Catalogue(sets)
        self.sets: dict[str, dict[str, Record]] = {spec.name: {} for spec in sets}
        # Told of every record that came to be, and of every update that is forgotten.
        self.created: Callable[[str, str], None] = lambda _, __: None
        self.forgot: Callable[[str], None] = lambda _: None

    async def get(self, set_name: str, key: str) -> Record | None:
        return self.sets[set_name].get(key)

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        records = self.sets[set_name]
        return {key: records[key] for key in keys if key in records}

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        kept = self.catalogue.checked(set_name, key, bins)
        if key in self.sets[set_name]:
            raise Exists
        self.sets[set_name][key] = Record(key, kept, 1)
        self.created(set_name, key)
        return 1

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        kept = self.catalogue.checked(set_name, key, bins)
        record = self.sets[set_name].get(key)
        if record is None or record.generation != generation:
            raise Stale
        self.sets[set_name][key] = Record(key, kept, generation + 1)
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
        found = [one for one in self._all(set_name) if one.bins.get(bin_name) == value]
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
        found = [one for one in self._all(set_name) if one.key.startswith(prefix)]
        return page(found, after=after, limit=limit, descending=descending)

    async def delete(self, set_name: str, key: str) -> None:
        self.sets[set_name].pop(key, None)

    def forget(self, set_name: str, before: Record) -> None:
        """An update is lost: the record is again what it was before."""
        self.sets[set_name][before.key] = before
        self.forgot(set_name)

    def _all(self, set_name: str) -> Iterable[Record]:
        return self.sets[set_name].values()
