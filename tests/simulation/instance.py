"""A ledger instance as services.ledger.__main__ composes it, less its server; and a ledger that cannot fail.

The only file here that knows how a ledger is put together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from mesh.clock import Clock
from mesh.leases import LEASES, Lease
from mesh.records import Store
from services.ledger.adapters import history, journal, snapshots
from services.ledger.adapters.election import LEASE, LeaseElection
from services.ledger.adapters.history import StoreHistory
from services.ledger.adapters.journal import StoreJournal
from services.ledger.adapters.snapshots import StoreSnapshots
from services.ledger.app.archive import Moved
from services.ledger.app.journal import Entry, Head, Journal, JournalBroken
from services.ledger.app.keeping import Keeper, SnapshotFailed
from services.ledger.app.leadership import keep_leading
from services.ledger.app.ledger import Ledger, Standing
from services.ledger.app.orders import Order, QueueFull
from services.ledger.app.replay import apply_all, replay
from services.ledger.app.snapshotting import Stored, take
from services.ledger.domain import image
from services.ledger.domain.commands import Command
from services.ledger.domain.machine import Answer, Machine
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.views import Changes
from services.ledger.rpc.read import read_command
from tests.simulation.clock import SkewedClock
from tests.simulation.loop import VirtualLoop, run_now

Seen = TypeVar("Seen")
Outcome = Answer | Refused
Question = Callable[[Machine, Head], Seen]
JournalOf = Callable[[Store, Clock], Journal]
Committed = Callable[[Head, Changes], None]

STORE_SETS = (*journal.SETS, *history.SETS, *snapshots.SETS, LEASES)
JOURNAL_SET = journal.SET
LEASES_SET = LEASES.name
QUEUE_MAX = 200
HORIZON_DAYS = 1
# Records after which the twin is made anew from its image.
IMAGE_EVERY = 37
SILENCE_S = 6


class Reading(Enum):
    """Who may answer a question, and from how old a state."""

    LEADER = "all that was acknowledged before"
    ANEW = "all that was committed before, from anyone"
    ANYWHERE = "from anyone, as old as said"


class NoAnswer(Exception):  # noqa: N818 - an answer of its own
    """This instance does not say: ask another, or again."""


def real_journal(store: Store, clock: Clock) -> Journal:
    """The journal of the service."""
    return StoreJournal(store, clock, read_command)


class Told:
    """News that hands on what was committed."""

    def __init__(self, committed: Committed) -> None:
        self.committed = committed


class Instance:
    """One start of a ledger process."""

    def __init__(
        self,
        name: str,
        store: Store,
        clock: Clock,
        *,
        journal_of: JournalOf,
        ttl_s: float,
        committed: Committed,
    ) -> None:
        self.name = name
        self._clock = clock
        stored = stored_in(store, clock, journal_of)
        self._ledger = Ledger(
            stored.journal,
            Told(committed),
            clock,
            queue_max=QUEUE_MAX,
            session_silence_s=SILENCE_S,
            horizon_days=HORIZON_DAYS,
            load=stored.recovery.load,
        )
        # Snapshots are taken by others: every=0.
        self._keeper = Keeper(self._ledger, stored.snapshots, clock, _nobody_takes, every=0)
        lease = Lease(store, LEASE, clock=clock, ttl_s=ttl_s)
        lease.owner = name  # by default it draws one, and a run would differ from its repetition
        self._election = LeaseElection(lease)

    @property
    def leading(self) -> bool:
        """Whether it takes commands."""
        return self._ledger.leading

    async def run(self) -> None:
        """Endless. Raises JournalBroken."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ledger.follow())
            group.create_task(keep_leading(self._ledger, self._election, _serving, self._clock))
            group.create_task(self._keeper.keep())

    async def submit(self, order: Order) -> Outcome:
        """The ledger's answer, refusals included. Raises NoAnswer."""
        try:
            return await self._ledger.submit(order)
        except QueueFull as full:
            raise NoAnswer(full.reason) from full
        except Refused as refusal:
            if refusal.number is Reason.NOT_LEADER:
                raise NoAnswer(refusal.reason) from refusal
            return refusal

    @property
    def standing(self) -> Standing:
        """What an answer given now is worth."""
        return self._ledger.standing

    async def ask(self, question: Question[Seen], how: Reading = Reading.LEADER) -> Seen:
        """What the ledger answers from committed state. Raises NoAnswer."""
        try:
            if how is Reading.ANEW:
                return await self._ledger.ask_anew(question)
            return await self._ledger.ask(question, anywhere=how is Reading.ANYWHERE)
        except Refused as refusal:
            raise NoAnswer(refusal.reason) from refusal


class NoArchive:
    """An `Archive` that keeps nothing: a run's journal is shorter than a block of it."""

    async def move(self, below: int) -> Moved:
        return Moved()

    async def end(self) -> int:
        return 0

    async def read(self, behind: Head) -> AsyncIterator[Entry]:
        nothing: tuple[Entry, ...] = ()
        for entry in nothing:
            yield entry


def stored_in(store: Store, clock: Clock, journal_of: JournalOf = real_journal) -> Stored:
    """All that an instance keeps outside of memory."""
    return Stored(
        journal=journal_of(store, clock),
        history=StoreHistory(store, clock),
        snapshots=StoreSnapshots(store, clock),
        archive=NoArchive(),
    )


async def take_snapshot(stored: Stored, clock: Clock) -> str:
    """What the command `snapshot` does; says what it did."""
    taken = await take(stored, clock)
    return f"record {taken.head.sequence}, from {taken.loaded.sequence}, {taken.dropped} dropped"


async def _nobody_takes() -> str:
    raise SnapshotFailed("nobody takes snapshots here")


async def _serving(_: bool) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Step:
    """A record of the journal and what came of it; `answers` has every command's bytes with its answer."""

    head: Head
    at_ns: int
    result_hash: bytes
    commands: tuple[Command, ...]
    answers: tuple[tuple[bytes, Outcome], ...]
    changes: Changes


def order_of(wire: bytes) -> Order:
    """The order that the journal keeps in this form."""
    return Order(read_command(wire), wire)


def state_hash(machine: Machine) -> str:
    """Equal for machines in one state, whatever of their past each still has in memory."""
    return image.hash_of(image.dump(machine)).hex()


class Reference:
    """A ledger without faults, fed by the records that are in the store.

    Beside it goes a twin that is now and then made anew from its own image, as after a start from a snapshot.
    """

    def __init__(self, store: Store, loop: VirtualLoop) -> None:
        self.machine = Machine()
        self.twin = Machine()
        self.head = Head()
        self._wires: list[bytes] = []
        self._journal = StoreJournal(store, SkewedClock(loop), self._read_command)
        self._stored = stored_in(store, SkewedClock(loop))

    def follow(self) -> Iterator[Step]:
        """Applies the records that are new. Raises JournalBroken."""
        self._wires.clear()
        for entry in _drained(self._journal.read(self.head)):
            self.machine.advance(entry.at_ns, entry.reign)
            answers = apply_all(self.machine, entry.commands)
            result_hash = self.machine.seal()
            if result_hash != entry.result_hash:
                raise JournalBroken(f"record {entry.head.sequence} replays to other answers")
            self.head = entry.head
            self._twin(entry)
            pairs = tuple(zip(self._wires, answers, strict=True))
            self._wires.clear()
            changes = self.machine.take_changes()
            yield Step(entry.head, entry.at_ns, result_hash, entry.commands, pairs, changes)

    def from_snapshot(self) -> Machine:
        """What a start from the newest snapshot, and the journal behind it, makes."""
        machine, head = run_now(self._stored.recovery.load())
        for entry in _drained(self._journal.read(head)):
            replay(machine, entry)
        return machine

    def _twin(self, entry: Entry) -> None:
        try:
            replay(self.twin, entry)
        except JournalBroken as broken:
            raise JournalBroken(f"with a state from an image: {broken}") from broken
        if entry.head.sequence % IMAGE_EVERY == 0:
            sections = image.dump(self.twin)
            self.twin = image.load(sections)
            if image.dump(self.twin) != sections:
                raise JournalBroken(f"at record {entry.head.sequence} an image loads to another state")

    def _read_command(self, wire: bytes) -> Command:
        self._wires.append(wire)
        return read_command(wire)


def _drained(source: AsyncIterator[Seen]) -> Iterator[Seen]:
    """What an asynchronous iterator yields that never really waits."""
    while (item := run_now(anext(source, None))) is not None:
        yield item
