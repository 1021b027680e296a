"""The archive: what the journal's oldest records became, so that the store need not keep them for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from services.ledger.app.journal import Archived, Draft, Entry, Head, Journal, JournalBroken


class ArchiveBroken(JournalBroken):
    """A file of the archive is missing or was changed."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did: records copied, their bytes, and records dropped from the store."""

    records: int = 0
    size_bytes: int = 0
    dropped: int = 0


class Archive(Protocol):
    """The oldest records, whole blocks of them. Raises the failures of both stores."""

    async def move(self, below: int) -> Moved:
        """Archives whole blocks of records below this one, and drops them from the store once they are safe.

        May be interrupted and done again. Raises JournalBroken.
        """
        ...

    async def end(self) -> int:
        """The newest record that is archived; 0: none is."""
        ...

    def read(self, behind: Head) -> AsyncIterator[Entry]:
        """The archived records behind a head, with their hashes checked. Raises ArchiveBroken."""
        ...


class WholeJournal:
    """The journal from its first record on: the archive, and what the store has behind it."""

    def __init__(self, journal: Journal, archive: Archive) -> None:
        self._journal = journal
        self._archive = archive

    async def append(self, draft: Draft, behind: Head) -> Head:
        """Appends to the journal in the store."""
        return await self._journal.append(draft, behind)

    async def has(self, head: Head) -> bool:
        """Whether the store has the record."""
        return await self._journal.has(head)

    async def end(self, known: int) -> int:
        """The newest record."""
        return await self._journal.end(max(known, await self._archive.end()))

    async def read(self, behind: Head) -> AsyncIterator[Entry]:
        """The records behind a head. While they are read the archive may grow."""
        head = behind
        while True:
            async for entry in self._archive.read(head):
                yield entry
                head = entry.head
            try:
                async for entry in self._journal.read(head):
                    yield entry
                    head = entry.head
            except Archived:
                if await self._archive.end() <= head.sequence:
                    raise
            else:
                return
