"""Snapshots in the record store: parts first, then the head that names them. All are only created.

Keys of parts carry a hash of the whole, so that two writers of one snapshot write the same and two different
snapshots of one record do not mix. `begun/…` notes what is being written, so that what was never finished
can be dropped; `newest` is a hint and may be older than what there is.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping

from mesh import logs
from mesh.clock import Clock
from mesh.records import BadRecord, Exists, Record, SetSpec, Stale, Store, Value, scan_all
from services.ledger.adapters.creating import create
from services.ledger.app.journal import Head
from services.ledger.app.snapshots import Snapshot, SnapshotBroken
from services.ledger.domain.pages import Written

HEADS = "snapshots"
PARTS = "snapshot_parts"
SETS = (SetSpec(HEADS), SetSpec(PARTS))

DONE = "done/"
BEGUN = "begun/"
NEWEST = "newest"
LEVEL = 1

log = logs.logger(__name__)


class StoreSnapshots:
    """`Snapshots` over a record store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def all(self) -> list[Snapshot]:
        """The finished ones, the newest first."""
        found = [_snapshot_of(record) async for record in scan_all(self._store, HEADS, prefix=DONE)]
        return [snapshot for snapshot in reversed(found) if snapshot is not None]

    async def newest(self) -> Snapshot | None:
        """What the hint names."""
        hint = await self._store.get(HEADS, NEWEST)
        if hint is None:
            return None
        head = await self._store.get(HEADS, _done(hint.integer("sequence")))
        return None if head is None else _snapshot_of(head)

    async def parts(self, snapshot: Snapshot) -> AsyncIterator[bytes]:
        """The parts, each compared with its own hash."""
        for number in range(snapshot.parts):
            try:
                record = await self._store.get(PARTS, _part(snapshot, number))
                content = None if record is None else await asyncio.to_thread(_content, record)
            except BadRecord as problem:
                raise SnapshotBroken(problem.message) from problem
            if content is None:
                raise SnapshotBroken(f"part {number} is missing")
            yield content

    async def put(self, snapshot: Snapshot, parts: list[bytes]) -> None:
        """Notes that it is begun, writes parts and head. Leaves the store to others half of the time."""
        bins = _bins(snapshot)
        await create(self._store, self._clock, HEADS, _begun(snapshot), bins)
        for number, part in enumerate(parts):
            data = await asyncio.to_thread(zlib.compress, part, LEVEL)
            began_s = self._clock.monotonic_s()
            part_bins = {"data": data, "hash": hashlib.sha256(part).digest()}
            await create(self._store, self._clock, PARTS, _part(snapshot, number), part_bins)
            await self._clock.sleep(self._clock.monotonic_s() - began_s)
        await create(self._store, self._clock, HEADS, _done(snapshot.head.sequence), bins)
        await self._hint(snapshot.head.sequence)

    async def drop(self, before: int) -> int:
        """Heads go first, notes of the begun ones last: a drop that was cut short is taken up again."""
        dropped: set[int] = set()
        for prefix in (DONE, BEGUN):
            async for record in scan_all(self._store, HEADS, prefix=prefix):
                snapshot = _snapshot_of(record)
                if snapshot is None or snapshot.head.sequence >= before:
                    continue
                await self._store.delete(HEADS, _done(snapshot.head.sequence))
                for number in range(snapshot.parts):
                    await self._store.delete(PARTS, _part(snapshot, number))
                await self._store.delete(HEADS, record.key)
                dropped.add(snapshot.head.sequence)
        return len(dropped)

    async def _hint(self, sequence: int) -> None:
        bins = {"sequence": sequence}
        try:
            there = await self._store.get(HEADS, NEWEST)
            if there is None:
                await self._store.create(HEADS, NEWEST, bins)
            elif there.integer("sequence") < sequence:
                await self._store.put_if(HEADS, NEWEST, bins, there.generation)
        except (Exists, Stale):
            return  # another has just made a snapshot as well


def _done(sequence: int) -> str:
    return f"{DONE}{sequence:016d}"


def _begun(snapshot: Snapshot) -> str:
    return f"{BEGUN}{_name(snapshot)}"


def _part(snapshot: Snapshot, number: int) -> str:
    return f"{_name(snapshot)}/{number:06d}"


def _name(snapshot: Snapshot) -> str:
    return f"{snapshot.head.sequence:016d}-{snapshot.sha256.hex()[:16]}"


def _content(record: Record) -> bytes:
    try:
        content = zlib.decompress(record.blob("data"))
    except zlib.error as problem:
        raise SnapshotBroken(f"part {record.key} was changed") from problem
    if hashlib.sha256(content).digest() != record.blob("hash"):
        raise SnapshotBroken(f"part {record.key} was changed")
    return content


def _bins(snapshot: Snapshot) -> dict[str, Value]:
    bins: dict[str, Value] = {
        "sequence": snapshot.head.sequence,
        "journal_hash": snapshot.head.hash,
        "parts": snapshot.parts,
        "size_bytes": snapshot.size_bytes,
        "sha256": snapshot.sha256,
        "image_version": snapshot.image_version,
        "postings": snapshot.written.postings,
        "sessions": snapshot.written.sessions,
        "last_round": snapshot.written.last_round,
        "at_ns": snapshot.at_ns,
    }
    return bins | {"hash": _hash(bins)}


def _hash(bins: Mapping[str, Value]) -> bytes:
    return hashlib.sha256(repr(sorted(bins.items())).encode()).digest()


def _snapshot_of(record: Record) -> Snapshot | None:
    """None, and logged, when the record is not what was written."""
    plain = {name: value for name, value in record.bins.items() if name != "hash"}
    if record.bins.get("hash") != _hash(plain):
        log.error("head of a snapshot was changed", key=record.key)
        return None
    return Snapshot(
        head=Head(record.integer("sequence"), record.blob("journal_hash")),
        parts=record.integer("parts"),
        size_bytes=record.integer("size_bytes"),
        sha256=record.blob("sha256"),
        image_version=record.integer("image_version"),
        written=Written(record.integer("postings"), record.integer("sessions"), record.text("last_round")),
        at_ns=record.integer("at_ns"),
    )
