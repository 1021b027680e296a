"""Segments: consecutive journal records as one file of the archive.

A line of JSON (`format`, `version`, `first`, `last`, `previous_hash`, `last_hash`), then each record with its
length in front (4 bytes, most significant first). The whole is compressed with zlib.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from services.ledger.app.archive import ArchiveBroken
from services.ledger.app.journal import Head

FORMAT = "satreel/ledger-journal"
VERSION = 1
LENGTH_BYTES = 4
LEVEL = 6


@dataclass(frozen=True, slots=True)
class Segment:
    """What is known of a file: its records, and SHA-256 and size of its content before compression."""

    first: int
    last: int
    last_hash: bytes
    sha256: bytes
    size_bytes: int

    @property
    def name(self) -> str:
        """The file's name in the archive."""
        return f"journal/{self.first:016d}-{self.last:016d}"


def content_of(behind: Head, last: Head, records: Sequence[bytes]) -> bytes:
    """A segment's content: the records from behind one head to another."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "first": behind.sequence + 1,
        "last": last.sequence,
        "previous_hash": behind.hash.hex(),
        "last_hash": last.hash.hex(),
    }
    framed = [part for record in records for part in (len(record).to_bytes(LENGTH_BYTES), record)]
    return b"".join((orjson.dumps(head), b"\n", *framed))


def records_of(content: bytes) -> Iterator[bytes]:
    """The records of a segment, in order."""
    at = content.index(b"\n") + 1
    while at < len(content):
        size = int.from_bytes(content[at : at + LENGTH_BYTES])
        at += LENGTH_BYTES
        yield content[at : at + size]
        at += size


def packed(content: bytes) -> bytes:
    """As a file."""
    return zlib.compress(content, LEVEL)


def unpacked(name: str, file: bytes) -> bytes:
    """The content of a file. Raises ArchiveBroken."""
    try:
        return zlib.decompress(file)
    except zlib.error as problem:
        raise ArchiveBroken(f"{name} was changed") from problem
