# ruff: noqa: S608 - the names that stand in statements are declared by the service and checked by pattern
"""Records in one SQLite file: the default store, and as durable as the disk.

Writes queue up behind one thread that commits all that are waiting together (WAL, synchronous=FULL), so that
many tasks share one fsync. Reads go to a few threads with dbs of their own, which answer what is waiting
in one go. Several processes may open the same file.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import orjson

from mesh.records.errors import BadRecord, Exists, Missing, Stale, StoreMissing
from mesh.records.lane import Lane
from mesh.records.port import PAGE_MAX, Bins, Catalogue, Kept, Record, SetSpec, prefix_end

READ_THREADS = 2
# How long a write waits for another process that holds the file's write lock.
BUSY_TIMEOUT_S = 5.0
OPEN_ATTEMPTS_MAX = 50
OPEN_PAUSE_S = 0.1

_COLUMNS = "(key TEXT PRIMARY KEY NOT NULL, generation INTEGER NOT NULL, bins TEXT NOT NULL, blobs BLOB)"
# Key, generation, and the bins as JSON with their bytes taken out and laid end to end in `blobs`.
_Row = tuple[object, object, object, object]


@asynccontextmanager
async def open_sqlite(
    path: Path, sets: Iterable[SetSpec], *, read_only: bool = False
) -> AsyncIterator[SqliteStore]:
    """Opens the file, made if need be; on leaving, waits for the writes under way and closes it.

    With `read_only` nothing is made and every write is refused; sets that the file does not have are empty.
    Raises StoreUnavailable when the file cannot be used, Busy when another process keeps it locked,
    StoreMissing when it is only to be read and there is none.
    """
    catalogue = Catalogue(sets)
    if read_only:
        if not await asyncio.to_thread(path.is_file):
            raise StoreMissing(f"there is no file of records {path}")
        connect = partial(_connect_to_read, path, catalogue)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        connect = partial(_connect, path)
    writer = Lane("records-writer", connect, threads=1, commit=True)
    readers = Lane("records-reader", connect, threads=READ_THREADS, commit=False)
    try:
        await writer.start()
        if not read_only:
            await writer.run(partial(_declare, catalogue=catalogue))
        await readers.start()
        yield SqliteStore(catalogue, writer, readers)
    finally:
        await readers.close()
        await writer.close()


class SqliteStore:
    """A `Store`; made by `open_sqlite`."""

    def __init__(self, catalogue: Catalogue, writer: Lane, readers: Lane) -> None:
        self._catalogue = catalogue
        self._writer = writer
        self._readers = readers

    async def get(self, set_name: str, key: str) -> Record | None:
        """The record, or None."""
        self._catalogue.check_key(set_name, key)
        return await self._readers.run(partial(_get, set_name=set_name, key=key))

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        """Those of the records that exist, by key."""
        self._catalogue.check_keys(set_name, keys)
        wanted = orjson.dumps(list(keys)).decode()
        where = "key IN (SELECT value FROM json_each(?))"
        found = await self._readers.run(partial(_select, set_name=set_name, where=where, arguments=(wanted,)))
        return {record.key: record for record in found}

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        """Writes a record that does not exist yet."""
        text, blobs = _pack(self._catalogue.checked(set_name, key, bins))
        return await self._writer.run(partial(_create, set_name=set_name, key=key, text=text, blobs=blobs))

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        """Replaces the record if it still has this generation."""
        text, blobs = _pack(self._catalogue.checked(set_name, key, bins))
        return await self._writer.run(
            partial(_put_if, set_name=set_name, key=key, text=text, blobs=blobs, generation=generation)
        )

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
        where = f"{_indexed(bin_name)} = ?"
        return await self._page(set_name, where, (wanted,), after=after, limit=limit, descending=descending)

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
        end = prefix_end(prefix)
        where, arguments = ("key >= ?", (prefix,)) if end is None else ("key >= ? AND key < ?", (prefix, end))
        return await self._page(set_name, where, arguments, after=after, limit=limit, descending=descending)

    async def delete(self, set_name: str, key: str) -> None:
        """Removes the record, if there is one."""
        self._catalogue.check_key(set_name, key)
        await self._writer.run(partial(_delete, set_name=set_name, key=key))

    async def _page(
        self,
        set_name: str,
        where: str,
        arguments: tuple[str | int, ...],
        *,
        after: str,
        limit: int,
        descending: bool,
    ) -> list[Record]:
        if after:
            where += " AND key < ?" if descending else " AND key > ?"
            arguments = (*arguments, after)
        where += f" ORDER BY key {'DESC' if descending else 'ASC'} LIMIT {limit}"
        return await self._readers.run(partial(_select, set_name=set_name, where=where, arguments=arguments))


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    # Text may have been edited into what is none: one such record must not fail all that are read with it.
    db.text_factory = bytes
    for attempt in range(1, OPEN_ATTEMPTS_MAX + 1):
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            # Switching to WAL does not wait for another process that is doing the same.
            if attempt == OPEN_ATTEMPTS_MAX:
                db.close()
                raise
            time.sleep(OPEN_PAUSE_S)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # what FULL means on macOS
    return db


def _connect_to_read(path: Path, catalogue: Catalogue) -> sqlite3.Connection:
    """A connection that changes nothing. It opens the file for writing, as SQLite must to read what another
    process has just written, or was about to when it died.
    """
    uri = f"{path.resolve().as_uri()}?mode=rw"
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        db.text_factory = bytes
        there = {
            name.decode() for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        for name in catalogue.specs.keys() - there:
            db.execute(f'CREATE TEMP TABLE "{name}" {_COLUMNS}')
        db.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _declare(db: sqlite3.Connection, *, catalogue: Catalogue) -> None:
    for spec in catalogue.specs.values():
        db.execute(f'CREATE TABLE IF NOT EXISTS "{spec.name}" {_COLUMNS}')
        for name in spec.indexes:
            db.execute(
                f'CREATE INDEX IF NOT EXISTS "{spec.name}.{name}" ON "{spec.name}" ({_indexed(name)}, key)'
            )


def _indexed(bin_name: str) -> str:
    return f"json_extract(bins, '$.{bin_name}')"


def _get(db: sqlite3.Connection, *, set_name: str, key: str) -> Record | None:
    row = db.execute(
        f'SELECT key, generation, bins, blobs FROM "{set_name}" WHERE key = ?', (key,)
    ).fetchone()
    return None if row is None else _record(row)


def _select(
    db: sqlite3.Connection, *, set_name: str, where: str, arguments: tuple[str | int, ...]
) -> list[Record]:
    rows = db.execute(
        f'SELECT key, generation, bins, blobs FROM "{set_name}" WHERE {where}', arguments
    ).fetchall()
    return [_record(row) for row in rows]


def _create(db: sqlite3.Connection, *, set_name: str, key: str, text: str, blobs: bytes | None) -> int:
    done = db.execute(
        f'INSERT INTO "{set_name}" (key, generation, bins, blobs) VALUES (?, 1, ?, ?) '
        "ON CONFLICT (key) DO NOTHING",
        (key, text, blobs),
    )
    if done.rowcount == 0:
        raise Exists(f"record {key!r} of {set_name!r} exists")
    return 1


def _put_if(
    db: sqlite3.Connection,
    *,
    set_name: str,
    key: str,
    text: str,
    blobs: bytes | None,
    generation: int,
) -> int:
    done = db.execute(
        f'UPDATE "{set_name}" SET generation = generation + 1, bins = ?, blobs = ? '
        "WHERE key = ? AND generation = ?",
        (text, blobs, key, generation),
    )
    if done.rowcount:
        return generation + 1
    if db.execute(f'SELECT 1 FROM "{set_name}" WHERE key = ?', (key,)).fetchone() is None:
        raise Missing(f"there is no record {key!r} in {set_name!r}")
    raise Stale(f"record {key!r} of {set_name!r} no longer has generation {generation}")


def _delete(db: sqlite3.Connection, *, set_name: str, key: str) -> None:
    db.execute(f'DELETE FROM "{set_name}" WHERE key = ?', (key,))


def _pack(bins: dict[str, Kept]) -> tuple[str, bytes | None]:
    """JSON has no bytes: each bytes value stands in it as [start, end] within `blobs`."""
    blobs: list[bytes] = []
    end = 0
    plain: dict[str, Kept | tuple[int, int]] = {}
    for name, value in bins.items():
        if isinstance(value, bytes):
            blobs.append(value)
            plain[name] = (end, end + len(value))
            end += len(value)
        else:
            plain[name] = value
    return orjson.dumps(plain).decode(), b"".join(blobs) if blobs else None


def _record(row: _Row) -> Record:
    """Raises BadRecord when the row was edited into what no record is."""
    raw_key, generation, text, blobs = row
    key = raw_key.decode(errors="replace") if isinstance(raw_key, bytes) else str(raw_key)
    if not isinstance(text, bytes) or not isinstance(generation, int) or not isinstance(blobs, bytes | None):
        raise BadRecord(f"record {key!r} was changed: a column has another type")
    try:
        bins = orjson.loads(text)
        if blobs is not None:
            for name, value in bins.items():
                if isinstance(value, list):
                    bins[name] = blobs[value[0] : value[1]]
    except (ValueError, TypeError, AttributeError, LookupError) as problem:
        raise BadRecord(f"record {key!r} was changed: its bins are not what is written") from problem
    return Record(key, bins, generation)
