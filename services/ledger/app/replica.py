"""The ledger's state in this process: what the journal makes, and how far it is known to be current.

Two work on it, never at the same time: whoever follows the journal (`catch_up`), and the writer, which first
changes it and then makes the change durable (`begin` … `commit` or `abandon`). Nobody sees what is not
committed: while a change is under way, questions wait. What an abandoned one leaves in memory is thrown away.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from mesh.clock import Clock
from services.ledger.app.journal import Archived, Entry, Head, Journal
from services.ledger.app.orders import weight_of
from services.ledger.app.replay import Load, from_nothing, replay
from services.ledger.domain.machine import Machine

NEVER_S = float("-inf")
# What a look at the journal must have replayed to be kept from the garbage collector.
FREEZE_FROM = 100_000

Seen = TypeVar("Seen")


class Replica:
    """A state machine and the newest record that it reflects. It is empty until `catch_up` has loaded it."""

    def __init__(self, journal: Journal, clock: Clock, load: Load = from_nothing) -> None:
        self.machine = Machine()
        self.head = Head()
        # How much was replayed here, in transfers and what costs as much.
        self.replayed = 0
        self._journal = journal
        self._clock = clock
        self._load = load
        # Whether the state is what the journal makes up to the head, no less and no more.
        self._sound = False
        self._changing = False
        self._look_began_s = self._current_s = NEVER_S
        self._questions: deque[Callable[[], None]] = deque()
        # Who waits for a look at the end of the journal: one that is to begin, one under way.
        self._next_look: list[asyncio.Future[bool]] = []
        self._this_look: list[asyncio.Future[bool]] = []

    @property
    def staleness_s(self) -> float:
        """Everything committed longer ago than this is in the state; infinite when nothing is known."""
        return self._clock.monotonic_s() - self._current_s

    async def catch_up(self) -> None:
        """Applies the records behind the head, up to the end of the journal; loads first where need be.

        May be cancelled and called again. Raises JournalBroken and the store's failures.
        """
        self._begin_look()
        try:
            await self._load_once()
            try:
                await self._read_on()
            except Archived:  # it has stood still for so long that a snapshot is nearer than what it has
                self._sound = False
                await self._load_once()
                await self._read_on()
        except BaseException:
            self._end_look(seen=False)
            raise
        self._end_look(seen=True)

    async def ask(self, question: Callable[[Machine, Head], Seen], check: Callable[[], None]) -> Seen:
        """Answers from committed state; waits while a change is under way.

        `check` raises when this state may not be asked: now, and just before the answer. Raises what the
        question raises as well.
        """
        check()
        if not self._changing:
            return question(self.machine, self.head)
        answer: asyncio.Future[Seen] = asyncio.get_running_loop().create_future()

        def reply() -> None:
            if answer.done():
                return  # whoever asked has gone
            try:
                check()
                answer.set_result(question(self.machine, self.head))
            except Exception as problem:  # whoever asked hears of it; the writer goes on
                answer.set_exception(problem)

        self._questions.append(reply)
        return await answer

    async def look(self) -> bool:
        """Waits for a look at the end of the journal that begins from now on: whether it came to its end."""
        seen: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._next_look.append(seen)
        return await seen

    def begin(self) -> None:
        """The writer is about to change the state."""
        self._begin_look()
        self._changing, self._sound = True, False

    def commit(self, head: Head) -> None:
        """The change is durable as this record, which stands behind the head there was."""
        self.head = head
        self._sound = True
        self._settle(seen=True)

    def abandon(self) -> None:
        """Nobody knows whether the change is or will be durable: the state cannot be used any more."""
        self._current_s = NEVER_S
        self._settle(seen=False)

    async def _load_once(self) -> None:
        if not self._sound:
            self._current_s = NEVER_S
            self.machine, self.head = Machine(), Head()  # frees the memory of what is thrown away
            self.machine, self.head = await self._load()
            self._sound = True

    async def _read_on(self) -> None:
        # A replay leaves no cycles, and the collector would look again and again at all that it makes; nor
        # is it to begin with that afterwards, when there is much of it.
        collects, before = gc.isenabled(), self.replayed
        gc.disable()
        try:
            async for entry in self._journal.read(self.head):
                self._apply(entry)
                await asyncio.sleep(0)  # questions and health checks come in between
        finally:
            if self.replayed - before > FREEZE_FROM:
                gc.freeze()
            if collects:
                gc.enable()

    def _apply(self, entry: Entry) -> None:
        self._sound = False
        replay(self.machine, entry)
        self.replayed += sum(map(weight_of, entry.commands))
        self.head = entry.head
        self._sound = True

    def _settle(self, *, seen: bool) -> None:
        self._changing = False
        self._end_look(seen=seen)
        while self._questions:
            self._questions.popleft()()

    def _begin_look(self) -> None:
        self._look_began_s = self._clock.monotonic_s()
        self._this_look, self._next_look = self._next_look, []

    def _end_look(self, *, seen: bool) -> None:
        if seen:
            self._current_s = self._look_began_s
        elif not self._sound:
            self._current_s = NEVER_S
        for waiting in self._this_look:
            if not waiting.done():
                waiting.set_result(seen)
        self._this_look = []
