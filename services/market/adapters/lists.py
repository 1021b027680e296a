"""Lists from the record store: newest first, by whichever index fits, filled past what is not wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from mesh.records import PAGE_MAX, Record, Store

# Pages of the store that one page of a list may read to fill itself, when most records do not match.
ROUNDS_MAX = 10

Item = TypeVar("Item")
Fetch = Callable[[str, int], Awaitable[list[Record]]]


def newest(store: Store, set_name: str, indexed: Mapping[str, str | None]) -> Fetch:
    """Reads downwards by the first index that has a value, or through all."""
    bin_name, value = next(((name, value) for name, value in indexed.items() if value), ("", None))

    async def fetch(after: str, limit: int) -> list[Record]:
        if value is None:
            return await store.scan(set_name, after=after, limit=limit, descending=True)
        return await store.query_eq(set_name, bin_name, str(value), after=after, limit=limit, descending=True)

    return fetch


async def filled(
    fetch: Fetch, read: Callable[[Record], Item], wanted: Callable[[Item], bool], after: str, limit: int
) -> tuple[list[Item], str]:
    """Up to `limit` wanted items from behind `after`, and the key behind which to go on, "" at the end."""
    found: list[tuple[str, Item]] = []
    for _ in range(ROUNDS_MAX):
        records = await fetch(after, PAGE_MAX if found else min(limit + 1, PAGE_MAX))
        items = ((record.key, read(record)) for record in records)
        found += [(key, item) for key, item in items if wanted(item)]
        if len(found) > limit:
            return [item for _, item in found[:limit]], found[limit - 1][0]
        if not records:
            return [item for _, item in found], ""
        after = records[-1].key
    return [item for _, item in found], after
