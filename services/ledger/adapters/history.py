"""The history in the record store: create-only, compressed, each record with the hash of its content."""

from __future__ import annotations

import asyncio
import hashlib
import zlib

from mesh.clock import Clock
from mesh.records import Record, SetSpec, Store
from services.ledger.adapters.creating import create
from services.ledger.app.history import HistoryBroken, Kind

SET = "history"
SETS = (SetSpec(SET),)

# The fastest: pages shrink to about a third whatever the level.
LEVEL = 1


class StoreHistory:
    """A `HistoryStore` over a record store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def put(self, kind: Kind, name: str, content: bytes) -> None:
        """Creates the record. What is there already is compared by its hash."""
        key, digest = _key(kind, name), hashlib.sha256(content).digest()
        data = await asyncio.to_thread(zlib.compress, content, LEVEL)
        if await create(self._store, self._clock, SET, key, {"data": data, "hash": digest}):
            return
        there = await self._store.get(SET, key)
        if there is None or there.blob("hash") != digest:
            raise HistoryBroken(f"{key} is in the history with other content")

    async def get(self, kind: Kind, name: str) -> bytes | None:
        """The content, compared with its hash."""
        record = await self._store.get(SET, _key(kind, name))
        return None if record is None else await asyncio.to_thread(_content, record)


def _key(kind: Kind, name: str) -> str:
    return f"{kind}/{name}"


def _content(record: Record) -> bytes:
    try:
        content = zlib.decompress(record.blob("data"))
    except zlib.error as problem:
        raise HistoryBroken(f"{record.key} was changed") from problem
    if hashlib.sha256(content).digest() != record.blob("hash"):
        raise HistoryBroken(f"{record.key} was changed")
    return content
