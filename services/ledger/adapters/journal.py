"""The journal in the record store: create-only numbered records, each naming the hash of the one before."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Collection

from google.protobuf.message import DecodeError
from satreel.ledger.v1 import journal_pb2

from mesh.clock import Clock
from mesh.records import BadRecord, Busy, Exists, InDoubt, Record, SetSpec, Store, StoreUnavailable
from services.ledger.adapters.searching import first_missing
from services.ledger.app.journal import Archived, Draft, Entry, Fenced, Head, JournalBroken, Unresolved
from services.ledger.domain.commands import Command, Reign

SET = "journal"
SETS = (SetSpec(SET),)

# How long a record is tried before its leader gives up and reads the journal again, and the pauses between.
APPEND_WITHIN_S = 10.0
PAUSE_S_MIN = 0.005
PAUSE_S_MAX = 0.5
# Records read in one go: bounds memory, for a record may have almost 1 MiB.
READ_MAX = 32
# Records that are archived and dropped together.
BLOCK = 1_000


class StoreJournal:
    """A `Journal` over a record store."""

    def __init__(self, store: Store, clock: Clock, read_command: Callable[[bytes], Command]) -> None:
        self._store = store
        self._clock = clock
        self._read_command = read_command

    async def append(self, draft: Draft, behind: Head) -> Head:
        """Creates the record behind the head; in doubt, tries again and compares what is there."""
        data = _encode(draft, behind)
        head = Head(behind.sequence + 1, hashlib.sha256(data).digest())
        give_up_s, pause_s = self._clock.monotonic_s() + APPEND_WITHIN_S, PAUSE_S_MIN
        while True:
            try:
                await self._store.create(SET, record_key(head.sequence), {"data": data, "hash": head.hash})
            except Exists:
                if await self._holds(head):
                    return head
                trouble = "it is there, and cannot be read"
            except (Busy, StoreUnavailable, InDoubt) as problem:
                trouble = problem.reason
            else:
                return head
            if self._clock.monotonic_s() >= give_up_s:
                raise Unresolved(f"record {head.sequence}: {trouble}")
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def read(self, behind: Head) -> AsyncIterator[Entry]:
        """The records behind the head. Raises JournalBroken on a gap or a changed record, Archived."""
        head = behind
        while True:
            numbers = range(head.sequence + 1, head.sequence + 1 + READ_MAX)
            marks = {marks_key(numbers.start), marks_key(numbers.stop - 1)}
            try:
                found = await self._store.get_many(SET, [*map(record_key, numbers), *marks])
            except BadRecord as problem:
                raise JournalBroken(problem.message) from problem
            for number in numbers:
                record = found.get(record_key(number))
                if record is None and marks_key(number) in found:
                    raise Archived(f"record {number} is in the archive")
                if record is None and await self._any_behind(number, numbers.stop, found):
                    # Records that are read together need not be read at one instant: it may be there by now.
                    record = await self._store.get(SET, record_key(number))
                    if record is None:
                        raise JournalBroken(f"record {number} is missing")
                if record is None:
                    return
                entry = self._decoded(record, head)
                yield entry
                head = entry.head

    def _decoded(self, record: Record, behind: Head) -> Entry:
        try:
            data, stored_hash = record.blob("data"), record.blob("hash")
        except BadRecord as problem:
            raise JournalBroken(problem.message) from problem
        return decode(data, stored_hash, behind, self._read_command)

    async def _any_behind(self, number: int, stop: int, found: Collection[str]) -> bool:
        """Whether one of the next records is there: then this one must be. Those before `stop` were read."""
        if any(record_key(later) in found for later in range(number + 1, stop)):
            return True
        unread = range(stop, number + 1 + READ_MAX)
        return bool(await self._store.get_many(SET, [record_key(later) for later in unread]))

    async def has(self, head: Head) -> bool:
        """Whether the store has this record."""
        if head.sequence == 0:
            return True
        record = await self._store.get(SET, record_key(head.sequence))
        if record is None or record.blob("hash") != head.hash:
            return False
        return hashlib.sha256(record.blob("data")).digest() == head.hash

    async def end(self, known: int) -> int:
        """The newest record."""

        async def is_there(number: int) -> bool:
            return await self._store.get(SET, record_key(number)) is not None

        return await first_missing(known + 1, is_there) - 1

    async def _holds(self, head: Head) -> bool:
        """Whether the record that exists is ours. Raises Fenced when it is another's."""
        try:
            record = await self._store.get(SET, record_key(head.sequence))
        except (Busy, StoreUnavailable):
            return False
        if record is not None and record.blob("hash") != head.hash:
            raise Fenced(f"record {head.sequence} was written by another leader")
        return record is not None


def record_key(sequence: int) -> str:
    """The key of a record."""
    return f"{sequence:016d}"


def marks_key(sequence: int) -> str:
    """The key of the mark that is there once the block of this record is in the archive."""
    return f"archived/{block_of(sequence):012d}"


def block_of(sequence: int) -> int:
    """Records are archived and dropped by blocks: the number of the one that a record belongs to, from 0."""
    return (sequence - 1) // BLOCK


def decode(data: bytes, stored_hash: bytes, behind: Head, read_command: Callable[[bytes], Command]) -> Entry:
    """The record behind the head. Raises JournalBroken when it was changed or is another."""
    head = Head(behind.sequence + 1, hashlib.sha256(data).digest())
    if head.hash != stored_hash:
        raise JournalBroken(f"record {head.sequence} was changed")
    try:
        record = journal_pb2.JournalRecord.FromString(data)
        commands = tuple(read_command(wire) for wire in record.commands)
    except (DecodeError, ValueError) as problem:
        raise JournalBroken(f"record {head.sequence} cannot be read: {problem}") from problem
    if record.sequence != head.sequence or record.previous_hash != behind.hash:
        raise JournalBroken(f"record {head.sequence} does not follow the record before it")
    reign = _reign_of(record.reign) if record.HasField("reign") else None
    return Entry(head, record.at_ns, reign, commands, record.result_hash)


def _reign_of(wire: journal_pb2.JournalReign) -> Reign:
    return Reign(wire.session_silence_s, wire.horizon_days)


def _encode(draft: Draft, behind: Head) -> bytes:
    reign = draft.reign
    return journal_pb2.JournalRecord(
        sequence=behind.sequence + 1,
        previous_hash=behind.hash,
        at_ns=draft.at_ns,
        leader_id=draft.author.leader_id,
        fencing_token=draft.author.fencing_token,
        reign=None
        if reign is None
        else journal_pb2.JournalReign(
            session_silence_s=reign.session_silence_s, horizon_days=reign.horizon_days
        ),
        commands=draft.commands,
        result_hash=draft.result_hash,
    ).SerializeToString()
