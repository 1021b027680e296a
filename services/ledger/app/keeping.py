"""Beside the ledger: has snapshots taken when they are due, and drops from memory what they made needless."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh import logs, telemetry
from mesh.clock import NS_PER_S, Clock
from mesh.errors import Failure
from services.ledger.app.ledger import Ledger
from services.ledger.app.snapshots import Snapshot, Snapshots

LOOK_EVERY_S = 5.0
# At least so often, if anything was written; at most so often, for one costs a processor for a while: unless
# during it so many times as much was written as one is due after, all of which has to be replayed.
DAY_NS = 86_400 * NS_PER_S
PAUSE_S = 60.0
BEHIND = 2
PAUSE_AFTER_FAILURE_S = 300.0

# Has a snapshot taken elsewhere; returns what it said, or raises SnapshotFailed.
TakeSnapshot = Callable[[], Awaitable[str]]

log = logs.logger(__name__)
_runs = telemetry.counter(
    "ledger.snapshots", "Snapshots asked for, by outcome.", unit="{snapshot}", by=("outcome",)
)


class SnapshotFailed(Exception):  # noqa: N818 - names what happened
    """The process that was to take a snapshot failed."""


class Keeper:
    """Follows the snapshots there are; while this instance leads, has new ones taken."""

    def __init__(
        self, ledger: Ledger, snapshots: Snapshots, clock: Clock, take: TakeSnapshot, *, every: int
    ) -> None:
        self._ledger = ledger
        self._snapshots = snapshots
        self._clock = clock
        self._take = take
        self._every = every
        self._seen: Snapshot | None = None
        self._began_ns = clock.now_ns()
        # What the ledger had worked when the newest snapshot was begun.
        self._worked = 0

    async def keep(self) -> None:
        """Endless. Whatever goes wrong is logged, and tried again later: the ledger does without."""
        while True:
            pause_s = LOOK_EVERY_S
            try:
                await self._follow()
                if self._due():
                    pause_s = await self._have_taken()
            except Failure as problem:
                log.warning("snapshots cannot be followed", reason=problem.reason, problem=problem.message)
            await self._clock.sleep(pause_s)

    async def _follow(self) -> None:
        """Trims when there is a newer snapshot, whoever took it."""
        worked = self._ledger.work
        newest = await self._snapshots.newest()
        if newest is None:
            return
        if self._seen is None or newest.head.sequence > self._seen.head.sequence:
            if self._seen is not None:
                self._worked = worked
            self._seen = newest
        await self._ledger.trim(newest.head, newest.written)

    def _due(self) -> bool:
        if not self._every or not self._ledger.leading:
            return False
        if self._ledger.work - self._worked >= self._every:
            return True
        seen = self._seen
        sequence, at_ns = (0, self._began_ns) if seen is None else (seen.head.sequence, seen.at_ns)
        return self._ledger.standing.sequence > sequence and self._clock.now_ns() - at_ns >= DAY_NS

    async def _have_taken(self) -> float:
        """Waits for a snapshot; returns how long to leave it at that."""
        worked = self._ledger.work
        try:
            told = await self._take()
        except SnapshotFailed as problem:
            _runs.add(1, {"outcome": "failed"})
            log.warning("snapshot failed", problem=str(problem))
            return PAUSE_AFTER_FAILURE_S
        _runs.add(1, {"outcome": "taken"})
        log.info("snapshot taken", told=told)
        await self._follow()
        self._worked = worked
        behind = self._ledger.work - worked >= BEHIND * self._every > 0
        return LOOK_EVERY_S if behind else PAUSE_S
