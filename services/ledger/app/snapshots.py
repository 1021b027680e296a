"""Snapshots: the whole state at a record of the journal. Recovery goes on from there, not from nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from mesh import logs
from services.ledger.app.archive import Archive
from services.ledger.app.journal import Head, Journal
from services.ledger.app.packing import pack, unpack
from services.ledger.app.replay import replay
from services.ledger.domain import image
from services.ledger.domain.image import BadImage
from services.ledger.domain.machine import Machine
from services.ledger.domain.pages import Written

log = logs.logger(__name__)


class SnapshotBroken(Exception):  # noqa: N818 - names what was found
    """A snapshot cannot be used: a part is missing or changed, or the journal is another one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a snapshot without reading it: it stands at a record of the journal."""

    head: Head
    parts: int
    size_bytes: int
    # Over all parts, in order.
    sha256: bytes
    image_version: int
    # How far the history reached; what it says need not be in the image.
    written: Written
    at_ns: int


@dataclass(slots=True)
class Loaded:
    """A state as a snapshot gave it."""

    machine: Machine = field(default_factory=Machine)
    head: Head = field(default_factory=Head)
    written: Written = field(default_factory=Written)


class Snapshots(Protocol):
    """Where snapshots lie. Everything raises the store's failures."""

    async def all(self) -> list[Snapshot]:
        """Those that were finished, the newest first."""
        ...

    async def newest(self) -> Snapshot | None:
        """The newest, as far as this can be told quickly."""
        ...

    def parts(self, snapshot: Snapshot) -> AsyncIterator[bytes]:
        """Its parts in order. Raises SnapshotBroken on one that is missing or changed."""
        ...

    async def put(self, snapshot: Snapshot, parts: list[bytes]) -> None:
        """Writes the parts and then what is known of them; twice it is one."""
        ...

    async def drop(self, before: int) -> int:
        """Drops those of records before this one, and what was never finished. How many there were."""
        ...


async def save(snapshots: Snapshots, machine: Machine, head: Head, written: Written, at_ns: int) -> Snapshot:
    """Writes a snapshot of the machine, which stands at this record."""
    parts = await asyncio.to_thread(lambda: pack(image.dump(machine)))
    snapshot = Snapshot(
        head=head,
        parts=len(parts),
        size_bytes=sum(map(len, parts)),
        sha256=_hash(parts),
        image_version=image.VERSION,
        written=written,
        at_ns=at_ns,
    )
    await snapshots.put(snapshot, parts)
    return snapshot


async def read(snapshots: Snapshots, journal: Journal, snapshot: Snapshot) -> bytearray:
    """Its content, checked whole. Raises SnapshotBroken."""
    if not await journal.has(snapshot.head):
        raise SnapshotBroken("the journal does not have the record that it stands at")
    content, hashed = bytearray(), hashlib.sha256()
    async for part in snapshots.parts(snapshot):
        hashed.update(part)
        content += part
    if hashed.digest() != snapshot.sha256:
        raise SnapshotBroken("it is not what was written")
    return content


async def load_newest(snapshots: Snapshots, journal: Journal) -> Loaded | None:
    """The state of the newest snapshot that is good; None when there is none. Bad ones are logged."""
    tried: set[int] = set()
    while untried := [one for one in await snapshots.all() if one.head.sequence not in tried]:
        # While they are read newer ones may be made and these be dropped: then there are others to try.
        for snapshot in untried:
            tried.add(snapshot.head.sequence)
            try:
                content = await read(snapshots, journal, snapshot)
                machine = await asyncio.to_thread(lambda data: image.load(unpack(data)), content)
            except (SnapshotBroken, BadImage) as problem:
                log.warning("snapshot is broken", sequence=snapshot.head.sequence, problem=str(problem))
            else:
                return Loaded(machine, snapshot.head, snapshot.written)
    return None


async def good(snapshots: Snapshots, journal: Journal, count: int) -> list[Snapshot]:
    """The newest so many whose content is what was written."""
    found: list[Snapshot] = []
    for snapshot in await snapshots.all():
        try:
            await read(snapshots, journal, snapshot)
        except SnapshotBroken as problem:
            log.warning("snapshot is broken", sequence=snapshot.head.sequence, problem=str(problem))
        else:
            found.append(snapshot)
        if len(found) == count:
            break
    return found


class Recovery:
    """The `Load` of a ledger that has snapshots: the newest good one, else what the archive makes."""

    def __init__(self, snapshots: Snapshots, journal: Journal, archive: Archive) -> None:
        self._snapshots = snapshots
        self._journal = journal
        self._archive = archive

    async def load(self) -> tuple[Machine, Head]:
        """A state and the record it stands at; the journal in the store goes on behind it."""
        loaded = await self.loaded()
        return loaded.machine, loaded.head

    async def loaded(self) -> Loaded:
        """The same, with how far the history reached."""
        loaded = await load_newest(self._snapshots, self._journal)
        if loaded is not None:
            return loaded
        loaded = Loaded()
        async for entry in self._archive.read(loaded.head):
            replay(loaded.machine, entry)
            loaded.head = entry.head
        return loaded


def _hash(parts: list[bytes]) -> bytes:
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part)
    return hashed.digest()
