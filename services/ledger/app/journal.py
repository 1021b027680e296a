"""The journal as the ledger needs it: records appended in order by one leader, read back by the next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from services.ledger.domain.commands import Command, Reign

# A record holds at most so many transfers (or other commands), and bytes of commands: stores take 1 MiB.
# A record for each call of 1,000 would cost a third more than one for four; a full one takes some 30 ms.
BATCH_MAX = 4_096
BATCH_BYTES_MAX = 900_000


class Fenced(Exception):  # noqa: N818 - an answer, not a fault
    """Another leader has written the record with this number: this one has been deposed."""


class Unresolved(Exception):  # noqa: N818 - an unknown outcome is a state of its own
    """The store did not say in time whether the record is there; only reading the journal again will tell."""


class JournalBroken(Exception):  # noqa: N818 - names what was found
    """A record is missing, changed, out of order, or replays to other answers. A person has to look at it."""


class Archived(JournalBroken):
    """Records asked for are no longer in the store but in the archive: begin with a snapshot instead."""


@dataclass(frozen=True, slots=True)
class Author:
    """The leader that writes, with its lease's fencing token."""

    leader_id: str
    fencing_token: int


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: its number and hash. Number 0 stands before the first."""

    sequence: int = 0
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Draft:
    """A record to be appended behind a head."""

    author: Author
    at_ns: int
    reign: Reign | None
    commands: tuple[bytes, ...]
    result_hash: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that was read and whose place in the chain of hashes is right."""

    head: Head
    at_ns: int
    reign: Reign | None
    commands: tuple[Command, ...]
    result_hash: bytes


class Journal(Protocol):
    """Create-only numbered records."""

    async def append(self, draft: Draft, behind: Head) -> Head:
        """Makes the record durable and returns it as the new head.

        The same draft may be appended again and ends the same. Raises Fenced and Unresolved.
        """
        ...

    def read(self, behind: Head) -> AsyncIterator[Entry]:
        """The records behind a head, in order, with their hashes checked.

        Raises JournalBroken; when the next one was archived and dropped, Archived.
        """
        ...

    async def has(self, head: Head) -> bool:
        """Whether the record that the head names is in the store, and is that one."""
        ...

    async def end(self, known: int) -> int:
        """The number of the newest record in the store; one that is known to have been written helps."""
        ...
