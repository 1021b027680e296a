"""One snapshot from beginning to end: load, replay, write the history, save, archive, drop.

It only reads what the ledger works on and only creates what it writes, so it may run beside the ledger, twice
at the same time, and be killed anywhere: the next run begins where the last finished snapshot stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.clock import Clock
from mesh.errors import Code, Failure
from services.ledger.app.archive import Archive, Moved
from services.ledger.app.history import HistoryStore
from services.ledger.app.journal import Head, Journal, JournalBroken
from services.ledger.app.recording import write_history
from services.ledger.app.replay import replay
from services.ledger.app.snapshots import Loaded, Recovery, Snapshot, Snapshots, good, save
from services.ledger.domain.pages import PAGE, Written

# Snapshots that are kept, so that one may be found broken.
KEPT = 2
# The history is written while the journal is replayed, whenever so many pages wait: memory stays bounded.
PAGES_WAITING_MAX = 20


@dataclass(frozen=True, slots=True)
class Stored:
    """All that a ledger keeps outside of memory."""

    journal: Journal
    history: HistoryStore
    snapshots: Snapshots
    archive: Archive

    @property
    def recovery(self) -> Recovery:
        """How a ledger begins."""
        return Recovery(self.snapshots, self.journal, self.archive)

    async def is_empty(self) -> bool:
        """Whether no ledger has ever been here: no record, nothing archived, no snapshot."""
        try:
            if await self.archive.end() or await self.snapshots.all():
                return False
            async for _ in self.journal.read(Head()):
                return False
        except JournalBroken:
            return False
        except Failure as failure:
            if failure.code is not Code.DATA_LOSS:
                raise
            return False
        return True


@dataclass(frozen=True, slots=True)
class Taken:
    """What a run did. No snapshot: nothing was written since the last."""

    loaded: Head
    head: Head
    written: Written
    snapshot: Snapshot | None
    moved: Moved
    dropped: int
    load_s: float
    replay_s: float
    save_s: float


async def take(stored: Stored, clock: Clock) -> Taken:
    """Takes a snapshot of what the journal makes, and tidies up behind it.

    Raises JournalBroken, HistoryBroken and the failures of the stores.
    """
    began_s = clock.monotonic_s()
    state = await stored.recovery.loaded()
    loaded, loaded_s = state.head, clock.monotonic_s()
    await _replay(stored, state)
    replayed_s = clock.monotonic_s()
    snapshot = None
    if state.head.sequence > loaded.sequence or not await stored.snapshots.all():
        snapshot = await save(stored.snapshots, state.machine, state.head, state.written, clock.now_ns())
    saved_s = clock.monotonic_s()
    moved, dropped = await _tidy(stored)
    return Taken(
        loaded=loaded,
        head=state.head,
        written=state.written,
        snapshot=snapshot,
        moved=moved,
        dropped=dropped,
        load_s=loaded_s - began_s,
        replay_s=replayed_s - loaded_s,
        save_s=saved_s - replayed_s,
    )


async def _replay(stored: Stored, state: Loaded) -> None:
    """Comes to where the journal ends now, and the history with it.

    What is written meanwhile is left to the next run: beside a busy writer there would be no end, and no
    snapshot either.
    """
    machine, end = state.machine, await stored.journal.end(state.head.sequence)
    async for entry in stored.journal.read(state.head):
        replay(machine, entry)
        state.head = entry.head
        if len(machine.books.postings) >= PAGES_WAITING_MAX * PAGE:
            state.written = await write_history(machine, stored.history, state.written)
        if entry.head.sequence >= end:
            break
    state.written = await write_history(machine, stored.history, state.written)


async def _tidy(stored: Stored) -> tuple[Moved, int]:
    """Archives and drops what no kept snapshot needs."""
    kept = await good(stored.snapshots, stored.journal, KEPT)
    if len(kept) < KEPT:
        return Moved(), 0
    oldest = kept[-1].head.sequence
    dropped = await stored.snapshots.drop(oldest)
    return await stored.archive.move(oldest), dropped
