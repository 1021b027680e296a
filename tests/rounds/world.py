"""Rounds as a process that can crash and be started again, over stand-ins that outlive it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from mesh.clock import ManualClock
from mesh.ids import uuid7
from services.rounds.adapters.records import CandidateRecords, CursorRecords, RoundRecords
from services.rounds.app import parts
from services.rounds.app.parts import Parts
from services.rounds.app.ports import Leaderboard, RoundView
from services.rounds.domain.values import NS_PER_S, Round, RoundId, State, Timing
from tests.rounds.fakes import FakeChain, FakeContent, FakeLedger
from tests.rounds.faults import Crash, Faults, MemoryStore

TIMING = Timing(length_ns=30 * NS_PER_S, grace_ns=3 * NS_PER_S, gap_ns=5 * NS_PER_S)


@dataclass
class HeardNews:
    """What watchers heard."""

    rounds: list[RoundView] = field(default_factory=list)
    boards: list[Leaderboard] = field(default_factory=list)

    def round_changed(self, view: RoundView) -> None:
        self.rounds.append(view)

    def standings_moved(self, board: Leaderboard) -> None:
        self.boards.append(board)

    def states(self, round_id: RoundId) -> list[State]:
        """The states that watchers saw a round go through."""
        seen: list[State] = []
        for view in self.rounds:
            if view.round.id == round_id and (not seen or seen[-1] is not view.round.state):
                seen.append(view.round.state)
        return seen


class World:
    """Everything outlives the process but the process."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.faults = Faults()
        self.store = MemoryStore(self.faults)
        self.ledger = FakeLedger(self.faults)
        self.content = FakeContent(self.faults, self.clock)
        self.chain = FakeChain(self.faults, self.clock)
        self.news = HeardNews()
        self.rounds = RoundRecords(self.store)
        self._task: asyncio.Task[None] | None = None
        self.crashes = 0
        self.step_s = 0.5

    def start(self) -> None:
        """Starts the process."""
        world = parts.World(
            rounds=self.rounds,
            candidates=CandidateRecords(self.store),
            cursors=CursorRecords(self.store),
            ledger=self.ledger,
            content=self.content,
            chain=self.chain,
            news=self.news,
            clock=self.clock,
            new_id=uuid7,
        )
        one = Parts(world, TIMING, board_interval_s=1.0)
        self.driver, self.service = one.driver, one.service

        async def run() -> None:
            try:
                await one.leading.run(_serving)
            except BaseExceptionGroup as group:
                if group.subgroup(Crash) is None:
                    raise
            except Crash:
                pass

        self._task = asyncio.create_task(run())

    async def kill(self) -> None:
        """Ends the process, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def settle(self) -> None:
        """Lets everything run that can; a process that crashed is started again."""
        for _ in range(150):
            await asyncio.sleep(0)
            if self._task is not None and self._task.done():
                self._task.result()
                self.crashes += 1
                self.faults.crash_at = None
                self.start()

    async def pass_time(self, seconds: float) -> None:
        """Moves time on in small steps."""
        while seconds > 0:
            await self.settle()
            await self.clock.advance(min(seconds, self.step_s))
            seconds -= self.step_s
        await self.settle()

    async def all_rounds(self) -> list[Round]:
        """As stored, oldest first."""
        self.faults.crash_at = None
        newest = await self.rounds.newest()
        found = await self.rounds.before(newest.round.number + 1, 1_000) if newest else []
        return [stored.round for stored in reversed(found)]

    @property
    def current(self) -> Round:
        found = self.driver.current
        assert found is not None
        return found

    def state(self) -> State:
        """Of the current round."""
        return self.current.state


async def _serving(_: bool) -> None:
    await asyncio.sleep(0)
