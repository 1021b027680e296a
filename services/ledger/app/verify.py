"""Verification: replays the whole journal, and compares all that is kept beside it with what that makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.errors import Code, Failure
from services.ledger.app.archive import WholeJournal
from services.ledger.app.history import HistoryBroken, HistoryStore, Kind
from services.ledger.app.journal import Entry, Head, JournalBroken
from services.ledger.app.packing import unpack
from services.ledger.app.recording import write_history
from services.ledger.app.replay import replay
from services.ledger.app.snapshots import Snapshot, SnapshotBroken, read
from services.ledger.app.snapshotting import PAGES_WAITING_MAX, Stored
from services.ledger.domain import image
from services.ledger.domain.audit import Audit
from services.ledger.domain.image import BadImage
from services.ledger.domain.machine import Machine
from services.ledger.domain.pages import PAGE, Written
from services.ledger.domain.views import Totals, totals_of

# Findings that are told one by one; a journal that is wrong all over has more.
PROBLEMS_MAX = 100

# Told how many records were replayed, of how many.
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a verification found; no problems: all is well."""

    head: Head
    totals: Totals
    # Hash of the state, hex: the same for every ledger in this state.
    state: str
    # How many of each were compared with the replay.
    pages: int
    rounds: int
    snapshots: int
    problems: tuple[str, ...]


async def verify(stored: Stored, tell: Tell = lambda _, __: None, known: Head | None = None) -> Finding:
    """Checks hashes, order and answers of every record, then sums, holds, debts, postings and titles.

    Besides: that the pages and rounds of the history, and every snapshot, are what the journal makes; and
    that a record that is known from elsewhere is in it.
    """
    unreadable: list[str] = []
    try:
        snapshots = await stored.snapshots.all()
    except Failure as failure:
        snapshots = []
        unreadable.append(_lost(failure))
    verification = _Verification(stored, snapshots, known)
    for problem in unreadable:
        verification.tell(problem)
    journal = WholeJournal(stored.journal, stored.archive)
    try:
        count = await journal.end(snapshots[0].head.sequence if snapshots else 0)
        async for entry in journal.read(Head()):
            await verification.take(entry)
            tell(entry.head.sequence, count)
    except JournalBroken as broken:
        verification.tell(f"{broken}; checked up to record {verification.head.sequence}")
    except Failure as failure:
        verification.tell(f"{_lost(failure)}; checked up to record {verification.head.sequence}")
    return await verification.end()


def _lost(failure: Failure) -> str:
    """What a failure says of the data; raises it again when it says nothing but that they cannot be had."""
    if failure.code is not Code.DATA_LOSS:
        raise failure
    return failure.message


class _Compared:
    """A `HistoryStore` that writes nothing: it compares what would be written with what is there."""

    def __init__(self, history: HistoryStore, tell: Callable[[str], None]) -> None:
        self._history = history
        self._tell = tell
        self.pages = self.rounds = 0
        # What the replay made and the history does not have.
        self.missing: list[str] = []

    async def put(self, kind: Kind, name: str, content: bytes) -> None:
        """Notes what differs."""
        try:
            there = await self._history.get(kind, name)
        except HistoryBroken as broken:
            self._tell(broken.message)
            return
        if there is None:
            self.missing.append(f"{kind}/{name}")
            return
        self.rounds += kind is Kind.ROUND
        self.pages += kind is not Kind.ROUND
        if there != content:
            self._tell(f"{kind}/{name} in the history is not what the journal makes")

    async def get(self, kind: Kind, name: str) -> bytes | None:
        """What is there."""
        return await self._history.get(kind, name)


class _Verification:
    """A replay that looks at everything it passes, and keeps no more in memory than it must."""

    def __init__(self, stored: Stored, snapshots: list[Snapshot], known: Head | None) -> None:
        self.head = Head()
        self._stored = stored
        self._snapshots = {one.head.sequence: one for one in snapshots}
        self._known = known
        self._compared = 0
        self._machine = Machine()
        self._audit = Audit()
        self._problems: list[str] = []
        self._history = _Compared(stored.history, self.tell)
        self._written = Written()

    def tell(self, problem: str) -> None:
        """Notes a problem."""
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(problem)

    async def take(self, entry: Entry) -> None:
        """Replays a record."""
        replay(self._machine, entry)
        self.head = entry.head
        if self._known is not None and self._known.sequence == entry.head.sequence:
            if self._known != entry.head:
                self.tell(f"record {entry.head.sequence} has another hash than the one that is known")
            self._known = None
        if len(self._machine.books.postings) >= PAGES_WAITING_MAX * PAGE:
            await self._compare_history()
        snapshot = self._snapshots.pop(entry.head.sequence, None)
        if snapshot is not None:
            await self._compare_snapshot(snapshot)

    async def end(self) -> Finding:
        """Looks at the state that came out."""
        await self._compare_history()
        for sequence in self._snapshots:
            self.tell(f"the snapshot of record {sequence} stands behind the end of the journal")
        if self._known is not None:
            self.tell(
                f"the journal ends at record {self.head.sequence}; record {self._known.sequence} is known"
            )
        for problem in self._audit.problems(self._machine):
            self.tell(problem)
        return Finding(
            head=self.head,
            totals=totals_of(self._machine.books),
            state=image.hash_of(image.dump(self._machine)).hex(),
            pages=self._history.pages,
            rounds=self._history.rounds,
            snapshots=self._compared,
            problems=tuple(self._problems),
        )

    async def _compare_history(self) -> None:
        """Compares what is whole by now, and drops it from memory."""
        self._audit.absorb(self._machine)
        self._written = await write_history(self._machine, self._history, self._written)

    async def _compare_snapshot(self, snapshot: Snapshot) -> None:
        """A snapshot, and the history, which had to be written up to here before it."""
        await self._compare_history()
        for missing in self._history.missing:
            self.tell(f"{missing} is missing in the history")
        self._history.missing.clear()
        name = f"the snapshot of record {snapshot.head.sequence}"
        if (snapshot.head, snapshot.written) != (self.head, self._written):
            self.tell(f"{name} names another record, or more or less history, than the journal makes")
        try:
            sections = unpack(await read(self._stored.snapshots, self._stored.journal, snapshot))
        except (SnapshotBroken, BadImage) as broken:
            # The service may have dropped it meanwhile.
            if snapshot in await self._stored.snapshots.all():
                self.tell(f"{name} is broken: {broken}")
            return
        self._compared += 1
        if image.hash_of(sections) != image.hash_of(image.dump(self._machine)):
            self.tell(f"{name} is not the state that the journal makes")
