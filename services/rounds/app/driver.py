"""The driver of the current round: one task that turns events into persisted steps, and steps into effects.

Every step is written before its effect is begun and before anybody hears of it; every effect is repeated
until its event is written. So a crash anywhere is followed by the same commands with the same ids, and `run`
needs no other recovery than to read the newest round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.trace import Link

from mesh import logs, telemetry
from mesh.clock import Clock
from mesh.errors import Failure
from mesh.following import Backoff
from mesh.records.errors import Busy, Exists, InDoubt, Stale, StoreUnavailable
from services.rounds.app.board import Board
from services.rounds.app.effects import Effects
from services.rounds.app.ports import News, Rounds, Stored
from services.rounds.domain import events, machine
from services.rounds.domain.events import Event
from services.rounds.domain.failures import NotLeader, RoundImbalanceError
from services.rounds.domain.machine import Intent
from services.rounds.domain.values import ENDED, NS_PER_S, InstantNs, Round, RoundId, Rules, State, Timing

log = logs.logger(__name__)
# Half a minute of it is for late reports.
_settled = telemetry.durations(
    "rounds.settlement.duration",
    "Time from the end of a round to its result, all payouts made.",
    buckets_s=(5.0, 10.0, 30.0, 35.0, 40.0, 50.0, 60.0, 90.0, 120.0, 300.0, 600.0),
)
_unsettled = telemetry.gauge(
    "rounds.settlement.age", "Time since the current round ended without a result; 0 before.", unit="s"
)

INBOX_MAX = 1_000
# The wall clock may jump: nobody sleeps longer than this without looking at it again.
SLEEP_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Message:
    """An event for the current round, or for the one named, and who waits for the step to be durable."""

    event: Event
    done: asyncio.Future[Round]
    round_id: RoundId | None = None


class Driver:
    """Carries the current round from block to result, then begins the next. One runs, on the leader."""

    def __init__(
        self,
        *,
        rounds: Rounds,
        effects: Effects,
        board: Board,
        news: News,
        clock: Clock,
        new_id: Callable[[], str],
        rules: Rules,
        timing: Timing,
    ) -> None:
        self._rounds = rounds
        self._effects = effects
        self._board = board
        self._news = news
        self._clock = clock
        self._new_id = new_id
        self._rules = rules
        self._timing = timing
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(INBOX_MAX)
        self._stored: Stored | None = None
        self._backoffs: dict[Intent, Backoff] = {}
        self._changed = asyncio.Event()
        # The trace of a step points to that of the step before it.
        self._steps_before: list[Link] = []

    @property
    def current(self) -> Round | None:
        """The round being driven; None while this instance does not lead."""
        return self._stored.round if self._stored else None

    @property
    def board(self) -> Board:
        """Live tallies of the current round."""
        return self._board

    async def tell(self, event: Event, round_id: RoundId | None = None) -> Round:
        """Hands an event to the driver; returns the current round when the step it made is durable.

        An event for a round that is no longer the current one changes nothing. Raises NotLeader, and what the
        step raises.
        """
        if self._stored is None:
            raise NotLeader
        message = Message(event, asyncio.get_running_loop().create_future(), round_id)
        await self._inbox.put(message)
        return await message.done

    async def started(self) -> None:
        """Waits until there is a current round."""
        while self._stored is None:
            await self._changed.wait()

    async def changed(self) -> None:
        """Waits for the next step of the current round."""
        await self._changed.wait()

    async def run(self) -> None:
        """Drives until cancelled, or until another instance has written (raises NotLeader)."""
        try:
            self._stored = await self._newest()
            self._board.follow(self._round.id)
            self._announce()
            self._wake()
            while True:
                await self._advance()
                message = await self._next_message()
                if message is not None:
                    await self._handle(message)
        finally:
            self._stored = None
            self._wake()
            while not self._inbox.empty():
                _settle(self._inbox.get_nowait(), NotLeader())

    @property
    def _round(self) -> Round:
        if self._stored is None:
            raise NotLeader
        return self._stored.round

    async def _newest(self) -> Stored:
        newest = await self._rounds.newest()
        if newest is not None:
            return newest
        return await self._begin(
            machine.first_round(
                round_id=RoundId(self._new_id()), rules=self._rules, timing=self._timing, now_ns=self._now()
            )
        )

    async def _begin(self, round_: Round) -> Stored:
        backoff = Backoff()
        while True:
            try:
                # The number is the key: whoever wrote it, this is the round.
                return await self._rounds.by_number(round_.number) or await self._rounds.begin(round_)
            except (Exists, InDoubt, Busy, StoreUnavailable) as problem:
                log.warning("a round could not be begun yet", number=round_.number, error=str(problem))
            await self._clock.sleep(backoff.next_s())

    async def _handle(self, message: Message) -> None:
        concerned = message.round_id in (None, self._round.id)
        try:
            _settle(message, await self._apply(message.event) if concerned else self._round)
        except Failure as refused:
            _settle(message, refused)
        finally:
            _settle(message, NotLeader())

    async def _apply(self, event: Event) -> Round:
        """Makes one step durable. Waits for a store that is away; steps anew when another has written."""
        backoff, before, doubted = Backoff(), self._round, False
        while True:
            try:
                if doubted:
                    # It may be our own write that came through after all: look, and step from what is there.
                    self._stored = await self._rounds.by_number(before.number)
                after = machine.step(self._round, event, self._now())
                if after != self._round and self._stored is not None:
                    self._stored = await self._rounds.save(self._stored, after)
            except (Stale, InDoubt):
                doubted = True
            except (Busy, StoreUnavailable) as away:
                log.warning("the record store is away", error=str(away))
            else:
                if after != before:
                    self._after_step(before, after)
                return after
            await self._clock.sleep(backoff.next_s())

    def _after_step(self, before: Round, after: Round) -> None:
        if before.state is not after.state:
            log.info("round moved", round_id=after.id, number=after.number, state=after.state)
        if after.state is State.COMPLETED and before.state is not State.COMPLETED:
            _settled.record(self._since_lock_s(after))
        self._wake()
        # Watchers hear of an open round once the ledger meters it, so that nobody comes too early.
        if after.state is not State.ACTIVE or after.ledger_open:
            self._announce()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _announce(self) -> None:
        round_ = self._round
        self._news.round_changed(self._board.view(round_))
        if round_.anchor is not None:
            self._news.standings_moved(self._board.leaderboard(round_))

    async def _advance(self) -> None:
        """Carries out everything that can be done now."""
        calculating = self._round.state is State.CALCULATING
        _unsettled.set(self._since_lock_s(self._round) if calculating else 0.0)
        while True:
            before = self._round
            await self._apply(events.Tick())
            for intent in machine.intents(self._round):
                await self._attempt(intent)
            if self._round.state in ENDED and not machine.intents(self._round):
                await self._follow()
            if self._round == before:
                return

    async def _attempt(self, intent: Intent) -> None:
        backoff = self._backoffs.setdefault(intent, Backoff())
        if not backoff.is_due(self._clock.monotonic_s()):
            return
        round_ = self._round
        try:
            with telemetry.tracer.start_as_current_span(
                f"round {intent}", attributes={"satreel.round.id": round_.id}, links=self._steps_before
            ) as span:
                event = await self._effects.carry_out(intent, round_)
                await self._apply(event)
            self._steps_before = [Link(span.get_span_context())]
        except (Failure, RoundImbalanceError) as problem:
            backoff.failed(self._clock.monotonic_s())
            log.warning("will be tried again", intent=intent, round_id=round_.id, error=str(problem))
            if intent is Intent.OPEN_LEDGER and backoff.failures == 1:
                self._announce()
        else:
            del self._backoffs[intent]

    async def _follow(self) -> None:
        """Begins the round after the one that has ended, with its entries."""
        following = machine.following(
            self._round, round_id=RoundId(self._new_id()), rules=self._rules, timing=self._timing
        )
        self._stored = await self._begin(following)
        self._backoffs.clear()
        self._board.follow(self._round.id)
        entries = self._effects.entries(self._round, self._now())
        await self._apply(events.EntriesAssigned(entries))
        self._announce()

    async def _next_message(self) -> Message | None:
        """The next message, or None when it is time to look at the round again."""
        getter = asyncio.ensure_future(self._inbox.get())
        sleeper = asyncio.ensure_future(self._clock.sleep(self._sleep_s()))
        try:
            await asyncio.wait({getter, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            return getter.result() if getter.done() else None
        finally:
            getter.cancel()
            sleeper.cancel()

    def _sleep_s(self) -> float:
        now_s = self._clock.monotonic_s()
        waits = [SLEEP_S_MAX]
        wakes_at_ns = machine.wakes_at_ns(self._round)
        if wakes_at_ns is not None:
            waits.append((wakes_at_ns - self._now()) / NS_PER_S)
        waits += [
            backoff.due_at_s - now_s
            for intent, backoff in self._backoffs.items()
            if intent in machine.intents(self._round)
        ]
        return max(0.0, min(waits))

    def _since_lock_s(self, round_: Round) -> float:
        return max(0.0, (self._now() - (round_.locks_at_ns or self._now())) / NS_PER_S)

    def _now(self) -> InstantNs:
        return InstantNs(self._clock.now_ns())


def _settle(message: Message, outcome: Round | Failure) -> None:
    if message.done.done():
        return
    if isinstance(outcome, Failure):
        message.done.set_exception(outcome)
    else:
        message.done.set_result(outcome)
