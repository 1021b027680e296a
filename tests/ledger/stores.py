"""Record stores that fail as real ones do, and a ledger over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

from obstore.store import MemoryStore as MemoryObjects

from mesh.clock import Clock, ManualClock
from mesh.records import Busy, Exists, InDoubt, Record, StoreUnavailable, Value
from mesh.records.memory import MemoryStore as EmptyRecords
from services.ledger.__main__ import SETS
from services.ledger.adapters.archive import ObjectArchive
from services.ledger.adapters.journal import StoreJournal
from services.ledger.adapters.snapshots import StoreSnapshots
from services.ledger.app.history import MemoryHistory
from services.ledger.app.journal import Author, Head, Journal
from services.ledger.app.ledger import Ledger
from services.ledger.app.replay import Load, from_nothing
from services.ledger.app.snapshotting import Stored
from services.ledger.domain.views import Changes
from services.ledger.rpc.read import read_command


class Fault(Enum):
    """What happens to a create."""

    BUSY = "nothing was done"
    AWAY = "nothing was changed"
    DOUBT_DONE = "it was done, and the answer was lost"
    DOUBT_NOT_DONE = "it was not done, and nobody knows"
    DOUBT_LATE = "it will be done a little later, and nobody knows"
    FREEZE = "it is not done and never returns"
    FREEZE_DONE = "it is done and never returns"


class MemoryStore:
    """Creates and reads records in memory; `faults` happen to the next creates, in order.

    While it is `away` reads fail; `unseen` keys are missing from the next read of many, and only from that.
    """

    def __init__(self) -> None:
        self.away = False
        self.unseen: set[str] = set()
        self.read: list[str] = []
        self.looks = 0
        self.records: dict[str, Record] = {}
        self.faults: list[Fault] = []
        self.late: list[tuple[str, Mapping[str, Value]]] = []
        self.creates = 0
        # Set when the first fault has happened.
        self.troubled = asyncio.Event()

    async def get(self, set_name: str, key: str) -> Record | None:
        await asyncio.sleep(0)
        return self.records.get(key)

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        await asyncio.sleep(0)
        self.looks += 1
        if self.away:
            raise StoreUnavailable
        found = {key: self.records[key] for key in keys if key in self.records and key not in self.unseen}
        self.unseen.clear()
        self.read += found
        return found

    async def create(self, set_name: str, key: str, bins: Mapping[str, Value]) -> int:
        await asyncio.sleep(0)
        self.creates += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and fault is not Fault.FREEZE_DONE:
            self.troubled.set()
        if fault is Fault.BUSY:
            raise Busy
        if fault is Fault.AWAY:
            raise StoreUnavailable
        if fault is Fault.DOUBT_NOT_DONE:
            raise InDoubt
        if fault is Fault.DOUBT_LATE:
            self.late.append((key, bins))
            raise InDoubt
        if fault is Fault.FREEZE:
            await asyncio.Event().wait()
        self.put(key, bins)
        if fault is Fault.DOUBT_DONE:
            raise InDoubt
        if fault is Fault.FREEZE_DONE:
            self.troubled.set()
            await asyncio.Event().wait()
        return 1

    def put(self, key: str, bins: Mapping[str, Value]) -> None:
        """Raises Exists."""
        if key in self.records:
            raise Exists
        self.records[key] = Record(key, dict(bins), 1)

    def land_late_writes(self) -> None:
        """What was in doubt reaches the store after all."""
        for key, bins in self.late:
            if key not in self.records:
                self.put(key, bins)
        self.late.clear()


class Told:
    """News that remembers."""

    def __init__(self) -> None:
        self.news: list[tuple[Head, Changes]] = []

    def committed(self, head: Head, changes: Changes) -> None:
        self.news.append((head, changes))


def journal_of(store: MemoryStore, clock: Clock) -> StoreJournal:
    """A journal over the store."""
    return StoreJournal(store, clock, read_command)  # type: ignore[arg-type] # only what a journal uses


class Instance:
    """A ledger process: a ledger, the task in which it reigns, and the one in which it follows."""

    def __init__(
        self, journal: Journal, clock: Clock, name: str, *, queue_max: int = 1_000, load: Load = from_nothing
    ) -> None:
        self.name = name
        self.told = Told()
        self.ledger = Ledger(journal, self.told, clock, queue_max=queue_max, session_silence_s=10, load=load)
        self.serving: list[bool] = []
        self.in_office = True
        self._served = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.following: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """Begins to follow the journal."""
        self.following = asyncio.create_task(self.ledger.follow())

    async def lead(self) -> None:
        """Begins to reign, and returns when it serves or has failed."""
        self._served.clear()
        self.task = asyncio.create_task(
            self.ledger.reign(Author(self.name, 1), self._serving, lambda: self.in_office)
        )
        waiter = asyncio.create_task(self._served.wait())
        await asyncio.wait([self.task, waiter], return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()

    async def kill(self) -> None:
        """Stops without a word; whoever waits gets no good answer."""
        for task in (self.following, self.task):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def fall(self) -> BaseException | None:
        """Why the reign ended by itself."""
        assert self.task is not None
        await asyncio.wait([self.task])
        return self.task.exception()

    async def _serving(self, yes: bool) -> None:
        self.serving.append(yes)
        if yes:
            self._served.set()


@asynccontextmanager
async def led(store: MemoryStore, name: str = "one", **options: Any) -> AsyncIterator[Instance]:
    """A ledger that leads over the store, on a clock of its own."""
    clock = ManualClock()
    instance = Instance(journal_of(store, clock), clock, name, **options)
    await instance.lead()
    try:
        yield instance
    finally:
        await instance.kill()


def alone(journal: Journal) -> Stored:
    """A journal with nothing beside it."""
    beside, clock = EmptyRecords(SETS), ManualClock()
    return Stored(
        journal=journal,
        history=MemoryHistory(),
        snapshots=StoreSnapshots(beside, clock),
        archive=ObjectArchive(beside, MemoryObjects(), clock, read_command),
    )
