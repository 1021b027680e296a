"""Facts, counted chunks and cursors in the record store."""

from __future__ import annotations

from collections.abc import Collection

import orjson

from mesh.records import (
    KEYS_MAX,
    Bins,
    Exists,
    InDoubt,
    Record,
    SetSpec,
    Stale,
    Store,
    TooBig,
    change,
    query_all,
)
from services.insight.app.ports import Resume
from services.insight.domain.facts import NS_PER_S, Batch, Fact
from services.insight.domain.series import CHUNK_S, Chunk

FACTS, CHUNKS, CURSORS = "facts", "chunks", "cursors"
SETS = (SetSpec(FACTS, indexes={"chunk": int}), SetSpec(CHUNKS), SetSpec(CURSORS))
CHUNK_DIGITS = 12
BEGAN = "began"


class FactRecords:
    """The record store as insight uses it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, batch: Batch) -> bool:
        """Keeps a batch; False when it was kept before. Raises the store's errors."""
        bins: Bins = {
            "chunk": batch.at_ns // NS_PER_S // CHUNK_S,
            "at_ns": batch.at_ns,
            "facts": orjson.dumps([[fact.metric, fact.value, fact.subject] for fact in batch.facts]),
        }
        try:
            await self._store.create(FACTS, batch.id, bins)
        except Exists:
            return False
        return True

    async def in_chunk(self, number: int) -> list[Batch]:
        """All batches of a chunk, in no order."""
        return [_batch(record) async for record in query_all(self._store, FACTS, "chunk", number)]

    async def chunks(self, numbers: Collection[int]) -> dict[int, Chunk]:
        """Counted chunks that still hold."""
        keys = [_key(number) for number in numbers]
        found: dict[int, Chunk] = {}
        for start in range(0, len(keys), KEYS_MAX):
            records = await self._store.get_many(CHUNKS, keys[start : start + KEYS_MAX])
            for key, record in records.items():
                if record.flag("holds"):
                    found[int(key)] = _chunk(record)
        return found

    async def keep_chunk(self, chunk: Chunk) -> bool:
        """Keeps a counted chunk; False when that fails, or it is too big: it can be counted again."""
        bins: Bins = {
            "holds": True,
            "sums": _dumped(chunk.sums),
            "subjects": _dumped(
                {
                    metric: {bucket: sorted(subjects) for bucket, subjects in row.items()}
                    for metric, row in chunk.subjects.items()
                }
            ),
            "newest": _dumped(chunk.newest),
        }
        try:
            await self._put(CHUNKS, _key(chunk.number), bins)
        except (Exists, Stale, InDoubt, TooBig):
            return False
        return True

    async def drop_chunk(self, number: int) -> None:
        """A counted chunk holds no more."""
        await self._put(CHUNKS, _key(number), {"holds": False})

    async def began(self) -> int | None:
        """The first chunk that has facts; None when there are none."""
        record = await self._store.get(CURSORS, BEGAN)
        return record.integer("chunk") if record else None

    async def keep_began(self, number: int) -> None:
        """Keeps the first chunk that has facts."""
        await self._put(CURSORS, BEGAN, {"chunk": number})

    async def resume(self, name: str) -> Resume:
        """Where a stream is resumed."""
        record = await self._store.get(CURSORS, f"stream.{name}")
        return Resume(record.text("cursor"), record.integer("heard_ns")) if record else Resume()

    async def keep_resume(self, name: str, resume: Resume) -> None:
        """Keeps where a stream is resumed."""
        await self._put(CURSORS, f"stream.{name}", {"cursor": resume.cursor, "heard_ns": resume.heard_ns})

    async def _put(self, set_name: str, key: str, bins: Bins) -> None:
        if await change(self._store, set_name, key, lambda _: bins) is None:
            await self._store.create(set_name, key, bins)


def _key(number: int) -> str:
    return f"{number:0{CHUNK_DIGITS}d}"


def _dumped(rows: object) -> bytes:
    return orjson.dumps(rows, option=orjson.OPT_NON_STR_KEYS)


def _batch(record: Record) -> Batch:
    facts = tuple(Fact(*row) for row in orjson.loads(record.blob("facts")))
    return Batch(record.key, record.integer("at_ns"), facts)


def _chunk(record: Record) -> Chunk:
    sums, subjects, newest = (orjson.loads(record.blob(name)) for name in ("sums", "subjects", "newest"))
    return Chunk(
        int(record.key),
        {metric: {int(bucket): value for bucket, value in row.items()} for metric, row in sums.items()},
        {
            metric: {int(bucket): set(value) for bucket, value in row.items()}
            for metric, row in subjects.items()
        },
        {
            metric: {int(bucket): (at, value) for bucket, (at, value) in row.items()}
            for metric, row in newest.items()
        },
    )
