"""The ledger of this process: it follows the journal, and while it is elected it is the one that writes it.

The writer takes commands in batches, one batch at a time, applies them, commits them, and answers then. A
standby only reads: what the leader has committed is applied here a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from mesh import logs, telemetry
from mesh.clock import NS_PER_S, Clock
from mesh.errors import Code, Failure
from services.ledger.app.journal import Author, Draft, Head, Journal, JournalBroken, Unresolved
from services.ledger.app.orders import Order, Orders, Waiting, refuse
from services.ledger.app.replay import Load, apply_all, from_nothing
from services.ledger.app.replica import Replica
from services.ledger.domain.commands import Command, Reign
from services.ledger.domain.machine import Answer, Machine
from services.ledger.domain.pages import Written
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.views import Changes
from services.ledger.domain.window import HORIZON_DAYS

# How often a standby looks for new records, and how long it waits at most when the store is in trouble.
FOLLOW_EVERY_S = 0.1
FOLLOW_PAUSE_S_MAX = 2.0
# By so much, at most, what is due by time alone is late when the clock is set.
DUE_LOOK_S = 10.0
STALENESS_S_MAX = 5.0
# Postings and sessions that are dropped from memory in one go: while it lasts, commands wait.
TRIM_MAX = 5_000

Seen = TypeVar("Seen")
# Tells the outside whether this instance serves.
Serving = Callable[[bool], Awaitable[None]]

log = logs.logger(__name__)


class News(Protocol):
    """Where committed changes are told. Telling never waits and never fails."""

    def committed(self, head: Head, changes: Changes) -> None:
        """A record was committed; called once for each, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """What the state here is worth: all records up to `sequence`, all that is older than the staleness."""

    leads: bool
    sequence: int
    staleness_s: float


class Ledger:
    """Takes commands while `reign` runs, that is, while this process leads; `follow` keeps it ready to."""

    def __init__(
        self,
        journal: Journal,
        news: News,
        clock: Clock,
        *,
        queue_max: int,
        session_silence_s: int,
        horizon_days: int = HORIZON_DAYS,
        staleness_s_max: float = STALENESS_S_MAX,
        load: Load = from_nothing,
    ) -> None:
        self._journal = journal
        self._news = news
        self._clock = clock
        self._reign = Reign(session_silence_s, horizon_days)
        self._staleness_s_max = staleness_s_max
        self._replica = Replica(journal, clock, load)
        # Held by whoever works on the replica: follower or writer.
        self._at_work = asyncio.Lock()
        self._orders = Orders(queue_max)
        self._ready = asyncio.Event()
        self._leading = False
        self._in_office: Callable[[], bool] = lambda: False

    @property
    def leading(self) -> bool:
        """Whether commands are taken."""
        return self._leading

    @property
    def standing(self) -> Standing:
        """What an answer given now is worth."""
        leads = self._leads()
        staleness_s = 0.0 if leads else self._replica.staleness_s
        return Standing(leads, self._replica.head.sequence, staleness_s)

    @property
    def readable(self) -> bool:
        """Whether questions that may be answered anywhere are answered here."""
        return self.standing.staleness_s <= self._staleness_s_max

    @property
    def work(self) -> int:
        """How much was done here so far, in transfers and what costs as much: what a replay would take."""
        return self._replica.replayed + self._orders.placed

    async def trim(self, snapshot: Head, written: Written) -> None:
        """Drops from memory what the history holds, as of a snapshot; once this state has come to it."""

        def drop(machine: Machine, head: Head) -> bool:
            return head.sequence >= snapshot.sequence and machine.trim(written, most=TRIM_MAX)

        more = True
        while more:
            more = await self._replica.ask(drop, lambda: None)
            await asyncio.sleep(0)

    async def ready(self) -> None:
        """Returns when this instance has read the journal and trusts its state: it could lead at once."""
        await self._ready.wait()

    async def submit(self, order: Order) -> Answer:
        """Carries out a command; returns when it is durable. Raises Refused, QueueFull, and NOT_LEADER.

        After NOT_LEADER the command may have been carried out: repeating it is safe and tells.
        """
        self._require_leading()
        return await self._orders.place(order)

    async def ask(self, question: Callable[[Machine, Head], Seen], *, anywhere: bool = False) -> Seen:
        """Answers a question from committed state only. Raises what the question raises.

        Only the leader answers, else NOT_LEADER; `anywhere`, a standby does so too, from a state that may be
        older by the staleness that its setting allows, else TOO_STALE.
        """
        check = self._require_readable if anywhere else self._require_leading
        return await self._replica.ask(question, check)

    async def ask_anew(self, question: Callable[[Machine, Head], Seen]) -> Seen:
        """Answers from all that was committed when it was asked; a standby looks at the journal first.

        Raises TOO_STALE when it cannot look, and what the question raises.
        """
        if not self._leads() and not await self._replica.look():
            raise _too_stale()
        return await self.ask(question, anywhere=True)

    async def follow(self) -> None:
        """Keeps up with the journal whenever this instance does not lead. Endless. Raises JournalBroken."""
        pause_s = FOLLOW_EVERY_S
        while True:
            try:
                async with self._at_work:
                    await self._catch_up()
                pause_s = FOLLOW_EVERY_S
            except Failure as problem:
                if problem.code is Code.DATA_LOSS:  # no trouble of the store that passes
                    raise JournalBroken(problem.message) from problem
                log.warning("journal cannot be followed", reason=problem.reason, problem=problem.message)
                pause_s = min(2 * pause_s, FOLLOW_PAUSE_S_MAX)
            await self._clock.sleep(pause_s)

    async def reign(self, author: Author, serving: Serving, in_office: Callable[[], bool]) -> None:
        """Catches up, fences whoever led before, serves until cancelled. Raises what the journal raises."""
        async with self._at_work:
            await self._catch_up()
            self._in_office = in_office
            try:
                await self._commit([], author, self._reign)
                log.info("reigns", token=author.fencing_token, sequence=self._replica.head.sequence)
                self._leading = True
                await serving(True)
                while True:
                    await self._next_work()
                    await self._commit(self._orders.take_batch(), author)
            finally:
                self._leading = False
                self._orders.turn_away()
                await serving(False)

    async def _catch_up(self) -> None:
        """Brings the replica to the end of the journal."""
        first = not self._ready.is_set()
        began_s = self._clock.monotonic_s()
        await self._replica.catch_up()
        self._ready.set()
        if first:
            seconds = self._clock.monotonic_s() - began_s
            log.info("recovered", sequence=self._replica.head.sequence, seconds=seconds)

    def _leads(self) -> bool:
        # A leader that was paused may not know yet that another leads: it must not answer from old state.
        return self._leading and self._in_office()

    def _require_leading(self) -> None:
        if not self._leads():
            raise Refused(Reason.NOT_LEADER, "this instance does not lead; repeat the call")

    def _require_readable(self) -> None:
        if not self.readable:
            raise _too_stale()

    async def _next_work(self) -> None:
        """Returns when a command waits or something is due by time alone."""
        while not self._orders:
            due_ns = self._replica.machine.next_due_ns()
            wait_s = None if due_ns is None else (due_ns - self._clock.now_ns()) / NS_PER_S
            if wait_s is not None and wait_s <= 0:
                return
            waits = [asyncio.ensure_future(self._orders.wait())]
            if wait_s is not None:
                # The clock that says when may be set meanwhile; the one that waits does not notice.
                waits.append(asyncio.ensure_future(self._clock.sleep(min(wait_s, DUE_LOOK_S))))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def _commit(self, batch: list[Waiting], author: Author, reign: Reign | None = None) -> None:
        replica, machine = self._replica, self._replica.machine
        replica.begin()
        try:
            asked = [waiting.order.command for waiting in batch]
            apply = partial(_apply, machine, self._clock.now_ns(), reign, asked)
            # What takes long is done in a thread, so that the lease is renewed meanwhile.
            answers = await asyncio.to_thread(apply) if machine.takes_long(asked) else apply()
            commands = tuple(waiting.order.wire for waiting in batch)
            draft = Draft(author, machine.now_ns, reign, commands, machine.seal())
            with telemetry.tracer.for_many("ledger commit", (one.asker for one in batch)):
                head = await self._append(draft)
        except BaseException:
            self._leading = False
            self._ready.clear()
            replica.abandon()
            refuse(batch, "the outcome is unknown; repeat the call")
            raise
        replica.commit(head)
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.settle(answer)
        self._news.committed(head, machine.take_changes())

    async def _append(self, draft: Draft) -> Head:
        """The new head. Raises what the journal raises, and Unresolved when others may have led meanwhile.

        Whoever stood still for long may have taken a number that was free as its record went to the archive.
        """
        head = await self._journal.append(draft, self._replica.head)
        if not self._in_office():
            raise Unresolved(f"record {head.sequence}: others may have led when it was written")
        return head


def _apply(
    machine: Machine, now_ns: int, reign: Reign | None, commands: Sequence[Command]
) -> list[Answer | Refused]:
    machine.advance(now_ns, reign)
    return apply_all(machine, commands)


def _too_stale() -> Refused:
    return Refused(Reason.TOO_STALE, "this standby has not seen the end of the journal lately; ask another")
