"""The history in the record store: create-only, compressed, each record with the hash of its content."""

from __future__ import annotations

import asyncio
import hashlib
import zlib

from mesh.clock import Clock
from mesh.records import BadRecord, Record, SetSpec, Store, Value
from services.ledger.adapters.creating import create
from services.ledger.app.history import HistoryBroken, Kind

SET = "history"
SETS = (SetSpec(SET),)

# The fastest: pages shrink to about a third whatever the level.
LEVEL = 1
# The record of a round whose titles moved very often is longer than a record of the store: it has more parts.
PART_BYTES = 900_000


class StoreHistory:
    """A `HistoryStore` over a record store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def put(self, kind: Kind, name: str, content: bytes) -> None:
        """Creates the record. What is there already is compared by its hash."""
        key, digest = _key(kind, name), hashlib.sha256(content).digest()
        parts = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)]
        # The first goes last, for where it is all are.
        for number in range(len(parts) - 1, 0, -1):
            bins: dict[str, Value] = {"data": await asyncio.to_thread(zlib.compress, parts[number], LEVEL)}
            await create(self._store, self._clock, SET, _part(key, number), bins)
        data = await asyncio.to_thread(zlib.compress, parts[0], LEVEL)
        bins = {"data": data, "hash": digest, "parts": len(parts)}
        if await create(self._store, self._clock, SET, key, bins):
            return
        there = await self._store.get(SET, key)
        if there is None or there.blob("hash") != digest:
            raise HistoryBroken(f"{key} is in the history with other content")

    async def get(self, kind: Kind, name: str) -> bytes | None:
        """The content, compared with its hash."""
        try:
            return await self._get(_key(kind, name))
        except BadRecord as problem:
            raise HistoryBroken(problem.message) from problem

    async def _get(self, key: str) -> bytes | None:
        first = await self._store.get(SET, key)
        if first is None:
            return None
        parts = [first]
        for number in range(1, first.integer("parts", 1)):
            part = await self._store.get(SET, _part(key, number))
            if part is None:
                raise HistoryBroken(f"{_part(key, number)} is missing")
            parts.append(part)
        return await asyncio.to_thread(_content, parts)


def _key(kind: Kind, name: str) -> str:
    return f"{kind}/{name}"


def _part(key: str, number: int) -> str:
    return f"{key}/{number:06d}"


def _content(parts: list[Record]) -> bytes:
    first = parts[0]
    try:
        content = b"".join(zlib.decompress(part.blob("data")) for part in parts)
    except zlib.error as problem:
        raise HistoryBroken(f"{first.key} was changed") from problem
    if hashlib.sha256(content).digest() != first.blob("hash"):
        raise HistoryBroken(f"{first.key} was changed")
    return content
