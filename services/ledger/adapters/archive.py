"""The archive in an object store: a local folder by default, or what the setting names (s3://…).

A block is copied, read back, and compared with the chain of hashes; then it is marked, and only what was
marked a while ago is dropped from the record store, for a reader may just have looked for the mark.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.records import Store
from services.ledger.adapters.journal import BLOCK, READ_MAX, SET, decode, record_key
from services.ledger.adapters.marks import Marks
from services.ledger.adapters.segments import Segment, content_of, packed, records_of, unpacked
from services.ledger.app.archive import ArchiveBroken, Moved
from services.ledger.app.journal import Entry, Head, JournalBroken
from services.ledger.domain.commands import Command
from services.ledger.domain.reasons import Reason

# A file ends with the record that brings it above this size.
SEGMENT_BYTES = 16_000_000
# Longer than a read of the record store takes.
DROP_AFTER_S = 2.0
DELETES_AT_ONCE = 100


class ArchiveUnavailable(Unavailable):
    """The object store of the archive cannot be reached."""

    reason = Reason.ARCHIVE_UNAVAILABLE.name


def open_objects(url: str, folder: Path, *, read_only: bool = False) -> ObjectStore:
    """The object store that the url names; "" means the folder. Credentials: the usual AWS_ variables."""
    if url:
        return from_url(url)
    if read_only and not folder.is_dir():
        return MemoryStore()  # as empty as what is not there
    return LocalStore(folder, mkdir=not read_only)


class ObjectArchive:
    """An `Archive` of the journal in a record store."""

    def __init__(
        self, store: Store, objects: ObjectStore, clock: Clock, read_command: Callable[[bytes], Command]
    ) -> None:
        self._store = store
        self._objects = objects
        self._clock = clock
        self._read_command = read_command
        self._marks = Marks(store, clock)

    async def end(self) -> int:
        """The last record of the last block."""
        return await self._marks.count() * BLOCK

    async def move(self, below: int) -> Moved:
        """Archives and marks, waits, drops."""
        records = size_bytes = 0
        block = await self._marks.count()
        while (block + 1) * BLOCK < below:
            try:
                segments = await self._copy(block)
            except JournalBroken:
                # Unless another archives as well, and has dropped what was being read here.
                if await self._marks.get(block) is None:
                    raise
            else:
                await self._marks.put(block, segments)
                records += BLOCK
                size_bytes += sum(one.size_bytes for one in segments)
            block += 1
        if records:
            await self._clock.sleep(DROP_AFTER_S)
        return Moved(records, size_bytes, await self._drop(block))

    async def read(self, behind: Head) -> AsyncIterator[Entry]:
        """The archived records behind a head, block by block."""
        head, block = behind, behind.sequence // BLOCK
        while (segments := await self._marks.get(block)) is not None:
            for segment in segments:
                if segment.last <= head.sequence:
                    continue
                for entry in self._entries(await self._fetch(segment), segment, head):
                    yield entry
                    head = entry.head
            block += 1

    async def _copy(self, block: int) -> list[Segment]:
        """Copies a block into files and reads them back."""
        behind, segments = await self._last_of(block - 1), list[Segment]()
        async for content, last in self._contents(block, behind):
            segment = Segment(
                behind.sequence + 1, last.sequence, last.hash, hashlib.sha256(content).digest(), len(content)
            )
            with _told(segment.name):
                await obstore.put_async(self._objects, segment.name, await asyncio.to_thread(packed, content))
            await self._settle(segment.name)
            if await self._fetch(segment) != content:
                raise ArchiveBroken(f"{segment.name} is not what was written")
            segments.append(segment)
            behind = last
        return segments

    async def _settle(self, name: str) -> None:
        """Object stores keep what they confirm; a local file is safe only once it is on the disk."""
        if isinstance(self._objects, LocalStore) and self._objects.prefix is not None:
            with _told(name):
                await asyncio.to_thread(_sync, Path(self._objects.prefix), name)

    async def _last_of(self, block: int) -> Head:
        """The last record of an archived block; of block -1, the head before the first."""
        if block < 0:
            return Head()
        segments = await self._marks.get(block)
        if segments is None:
            raise JournalBroken(f"block {block} is not in the archive, but a later one is")
        return Head(segments[-1].last, segments[-1].last_hash)

    async def _contents(self, block: int, behind: Head) -> AsyncIterator[tuple[bytes, Head]]:
        """The contents of the block's files, and each file's last record."""
        head, records, size_bytes = behind, list[bytes](), 0
        end = (block + 1) * BLOCK
        while head.sequence < end:
            numbers = range(head.sequence + 1, min(head.sequence + READ_MAX, end) + 1)
            found = await self._store.get_many(SET, [*map(record_key, numbers)])
            for number in numbers:
                record = found.get(record_key(number))
                if record is None:
                    raise JournalBroken(f"record {number} is missing")
                data = record.blob("data")
                head = decode(data, record.blob("hash"), head, self._read_command).head
                records.append(data)
                size_bytes += len(data)
            if size_bytes > SEGMENT_BYTES or head.sequence == end:
                yield content_of(behind, head, records), head
                behind, records, size_bytes = head, [], 0

    async def _fetch(self, segment: Segment) -> bytes:
        with _told(segment.name):
            file = await (await obstore.get_async(self._objects, segment.name)).bytes_async()
        content = await asyncio.to_thread(unpacked, segment.name, bytes(file))
        if hashlib.sha256(content).digest() != segment.sha256:
            raise ArchiveBroken(f"{segment.name} was changed")
        return content

    def _entries(self, content: bytes, segment: Segment, behind: Head) -> Iterator[Entry]:
        """The records of a segment behind a head that lies in it or right before it."""
        head = behind
        for number, data in enumerate(records_of(content), segment.first):
            if number <= behind.sequence:
                continue
            entry = decode(data, hashlib.sha256(data).digest(), head, self._read_command)
            yield entry
            head = entry.head
        if head != Head(segment.last, segment.last_hash):
            raise ArchiveBroken(f"{segment.name} does not end with the record that its mark names")

    async def _drop(self, blocks: int) -> int:
        """Drops what is left in the store of the first so many blocks; a block's first record goes last."""
        left, block = list[int](), blocks - 1
        while block >= 0 and await self._store.get(SET, record_key(block * BLOCK + 1)) is not None:
            left.append(block)
            block -= 1
        for dropped in reversed(left):
            keys = [record_key(number) for number in range((dropped + 1) * BLOCK, dropped * BLOCK, -1)]
            for at in range(0, BLOCK - 1, DELETES_AT_ONCE):
                chunk = keys[at : min(at + DELETES_AT_ONCE, BLOCK - 1)]
                await asyncio.gather(*(self._store.delete(SET, key) for key in chunk))
            await self._store.delete(SET, keys[-1])
        return len(left) * BLOCK


def _sync(folder: Path, name: str) -> None:
    path = folder / name
    for each in (path, path.parent, folder):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as problem:
        raise ArchiveBroken(f"{name} is missing in the archive") from problem
    except (BaseError, OSError) as problem:
        raise ArchiveUnavailable(f"the archive failed: {type(problem).__name__}") from problem
