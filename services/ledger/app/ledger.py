"""The writer: takes commands into a queue, applies and commits them in batches, answers after the commit.

Only one batch is under way at a time. Between two commits the state in memory is exactly what the journal
makes, and only then are questions answered, so that nobody ever sees what may still be lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mesh import logs
from mesh.clock import NS_PER_S, Clock
from mesh.errors import Exhausted
from services.ledger.app.journal import BATCH_BYTES_MAX, BATCH_MAX, Author, Draft, Head, Journal
from services.ledger.app.replay import apply_all, recover
from services.ledger.domain.commands import Command, CreateTransfers, Reign
from services.ledger.domain.machine import Answer, Machine
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.views import Changes

Seen = TypeVar("Seen")
# Tells the outside whether this instance serves.
Serving = Callable[[bool], Awaitable[None]]

log = logs.logger(__name__)


class QueueFull(Exhausted):
    """The ledger has as many commands waiting as it takes; try again later."""

    reason = "QUEUE_FULL"


class News(Protocol):
    """Where committed changes are told. Telling never waits and never fails."""

    def committed(self, head: Head, changes: Changes) -> None:
        """A record was committed; called once for each, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """A command and the form in which the journal keeps it."""

    command: Command
    wire: bytes


class _Waiting:
    __slots__ = ("answer", "order", "weight")

    def __init__(self, order: Order, answer: asyncio.Future[Answer]) -> None:
        self.order = order
        self.answer = answer
        command = order.command
        self.weight = len(command.transfers) if isinstance(command, CreateTransfers) else 1


class Ledger:
    """The ledger of this process. It answers only while `reign` runs, that is, while this process leads."""

    def __init__(
        self, journal: Journal, news: News, clock: Clock, *, queue_max: int, session_silence_s: int
    ) -> None:
        self._journal = journal
        self._news = news
        self._clock = clock
        self._queue_max = queue_max
        self._reign = Reign(session_silence_s)
        self._waiting: deque[_Waiting] = deque()
        self._questions: deque[Callable[[], None]] = deque()
        self._woken = asyncio.Event()
        self._machine = Machine()
        self._head = Head()
        self._leading = False
        self._in_office: Callable[[], bool] = lambda: False
        self._committing = False

    @property
    def leading(self) -> bool:
        """Whether commands are taken."""
        return self._leading

    async def submit(self, order: Order) -> Answer:
        """Carries out a command; returns when it is durable. Raises Refused, QueueFull, and NOT_LEADER.

        After NOT_LEADER the command may have been carried out: repeating it is safe and tells.
        """
        self._require_leading()
        if len(self._waiting) >= self._queue_max:
            raise QueueFull(waiting=len(self._waiting))
        waiting = _Waiting(order, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._woken.set()
        return await waiting.answer

    async def ask(self, question: Callable[[Machine, Head], Seen]) -> Seen:
        """Answers a question from committed state only. Raises what the question raises, and NOT_LEADER."""
        self._require_leading()
        if not self._committing:
            return question(self._machine, self._head)
        answer: asyncio.Future[Seen] = asyncio.get_running_loop().create_future()

        def reply() -> None:
            if answer.done():
                return
            try:
                self._require_leading()
                answer.set_result(question(self._machine, self._head))
            except Exception as problem:  # whoever asked hears of it; the writer goes on
                answer.set_exception(problem)

        self._questions.append(reply)
        return await answer

    async def reign(self, author: Author, serving: Serving, in_office: Callable[[], bool]) -> None:
        """Recovers, fences whoever led before, and serves until cancelled. Raises what the journal raises."""
        self._in_office = in_office
        started_s = self._clock.monotonic_s()
        self._machine, self._head = await recover(self._journal)
        log.info("recovered", sequence=self._head.sequence, seconds=self._clock.monotonic_s() - started_s)
        try:
            await self._commit([], author, self._reign)
            self._leading = True
            await serving(True)
            while True:
                await self._next_work()
                await self._commit(self._take_batch(), author)
        finally:
            self._leading = False
            self._committing = False
            self._turn_away()
            await serving(False)

    def _require_leading(self) -> None:
        # A leader that was paused may not know yet that another leads: it must not answer from old state.
        if not self._leading or not self._in_office():
            raise Refused(Reason.NOT_LEADER, "this instance does not lead; repeat the call")

    async def _next_work(self) -> None:
        """Returns when a command waits or something is due by time alone."""
        self._woken.clear()
        while not self._waiting:
            due_ns = self._machine.next_due_ns()
            wait_s = None if due_ns is None else (due_ns - self._clock.now_ns()) / NS_PER_S
            if wait_s is not None and wait_s <= 0:
                return
            waker = asyncio.ensure_future(self._woken.wait())
            sleeper = None if wait_s is None else asyncio.ensure_future(self._clock.sleep(wait_s))
            try:
                await asyncio.wait(
                    [task for task in (waker, sleeper) if task], return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                waker.cancel()
                if sleeper is not None:
                    sleeper.cancel()

    def _take_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        weight = size_bytes = 0
        while self._waiting:
            waiting = self._waiting[0]
            weight += waiting.weight
            size_bytes += len(waiting.order.wire)
            if batch and (weight > BATCH_MAX or size_bytes > BATCH_BYTES_MAX):
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _commit(self, batch: list[_Waiting], author: Author, reign: Reign | None = None) -> None:
        machine = self._machine
        self._committing = True
        try:
            machine.advance(self._clock.now_ns(), reign)
            answers = apply_all(machine, (waiting.order.command for waiting in batch))
            commands = tuple(waiting.order.wire for waiting in batch)
            draft = Draft(author, machine.now_ns, reign, commands, machine.result_hash())
            self._head = await self._journal.append(draft, self._head)
        except BaseException:
            self._leading = False
            for waiting in batch:
                _answer(waiting, Refused(Reason.NOT_LEADER, "the outcome is unknown; repeat the call"))
            raise
        self._committing = False
        for waiting, answer in zip(batch, answers, strict=True):
            _answer(waiting, answer)
        while self._questions:
            self._questions.popleft()()
        self._news.committed(self._head, machine.take_changes())

    def _turn_away(self) -> None:
        while self._waiting:
            _answer(self._waiting.popleft(), Refused(Reason.NOT_LEADER, "this instance stopped leading"))
        while self._questions:
            self._questions.popleft()()


def _answer(waiting: _Waiting, answer: Answer | Refused) -> None:
    if waiting.answer.done():
        return  # whoever asked has gone
    if isinstance(answer, Refused):
        waiting.answer.set_exception(answer)
    else:
        waiting.answer.set_result(answer)
