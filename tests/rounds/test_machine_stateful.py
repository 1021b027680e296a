"""Random blocks, reorganisations, ticks, late answers: each round opens and closes once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from mesh.errors import Failure
from services.rounds.domain import events
from services.rounds.domain.events import Event
from services.rounds.domain.machine import Intent, first_round, following, intents, ranking, step, wakes_at_ns
from services.rounds.domain.values import (
    ENDED,
    NS_PER_S,
    RULES,
    Block,
    Distribution,
    Entry,
    InstantNs,
    MemeId,
    MemeTally,
    Round,
    RoundId,
    Sats,
    State,
    Timing,
    UserId,
)

TIMING = Timing(length_ns=30 * NS_PER_S, grace_ns=3 * NS_PER_S, gap_ns=5 * NS_PER_S)


class LedgerModel:
    """What the ledger would answer, and what it was made to do."""

    def __init__(self) -> None:
        self.states: dict[RoundId, str] = {}
        self.distributions: dict[RoundId, Distribution] = {}

    def do(self, intent: Intent, round_: Round) -> Event:
        done: dict[Intent, Callable[[Round], Event]] = {
            Intent.OPEN_LEDGER: self._open,
            Intent.LOCK_LEDGER: self._lock,
            Intent.PAY_POOL: self._pay,
            Intent.VOID_LEDGER: self._void,
            Intent.RECORD_RESULT: lambda _: events.ResultAccepted(""),
            Intent.QUEUE_PAYOUTS: lambda _: events.PayoutsQueued(),
            Intent.RETIRE_ENTRIES: lambda _: events.EntriesRetired(),
        }
        return done[intent](round_)

    def _open(self, round_: Round) -> Event:
        live = [found for found, state in self.states.items() if state in ("OPEN", "LOCKED")]
        assert live in ([], [round_.id]), "two rounds are live in the ledger"
        self.states.setdefault(round_.id, "OPEN")
        return events.LedgerOpened(Sats(0))

    def _lock(self, round_: Round) -> Event:
        if self.states[round_.id] == "OPEN":
            self.states[round_.id] = "LOCKED"
        return events.LedgerLocked(tuple(MemeTally(entry.meme_id) for entry in round_.entries))

    def _pay(self, round_: Round) -> Event:
        assert self.states[round_.id] in ("LOCKED", "DISTRIBUTED")
        assert ranking(round_) == ()
        self.states[round_.id] = "DISTRIBUTED"
        return events.PoolPaid(Distribution(Sats(0), Sats(0), (), Sats(0)))

    def _void(self, round_: Round) -> Event:
        if self.states[round_.id] == "DISTRIBUTED":
            return events.VoidRefused()
        self.states[round_.id] = "VOIDED"
        return events.TakingsReturned()


class RoundsMachine(RuleBasedStateMachine):
    """The driver's loop, with the outside world in Hypothesis's hands."""

    late = Bundle("late")

    @initialize(open_=st.integers(0, 3))
    def begin(self, open_: int) -> None:
        self.now = 1_700_000_000 * NS_PER_S
        self.height = 100
        self.hashes = 0
        self.chain: list[Block] = []
        self.ledger = LedgerModel()
        self.round = first_round(
            round_id=RoundId("r1"), rules=RULES, timing=TIMING, now_ns=InstantNs(self.now)
        )
        self.ended: list[Round] = []
        self.opened: list[int] = []
        self.assign({0, 1})
        # Hypothesis leaves some rules out of each run; most runs shall have an open round all the same.
        if open_:
            self.mine(1, 0)

    def apply(self, event: Event) -> None:
        before = self.round
        self.round = step(before, event, InstantNs(self.now))
        if self.round.state is State.ACTIVE and before.state is State.PENDING:
            self.opened.append(self.round.number)

    def block(self, height: int) -> Block:
        self.hashes += 1
        return Block(height, f"h{self.hashes}", InstantNs(self.now))

    @rule(creators=st.sets(st.integers(0, 4), min_size=1))
    def assign(self, creators: set[int]) -> None:
        entries = tuple(
            Entry(MemeId(f"{self.round.number}-{n}"), UserId(f"u{n}"), 900_000, InstantNs(self.now))
            for n in sorted(creators)
        )
        self.apply(events.EntriesAssigned(entries))

    @rule()
    def none_is_left(self) -> None:
        self.apply(events.EntriesAssigned(()))

    @rule(blocks=st.integers(1, 3), after_s=st.sampled_from([0, 1, 5, 6]))
    def mine(self, blocks: int, after_s: int) -> None:
        self.now += after_s * NS_PER_S
        connected = []
        for _ in range(blocks):
            self.height += 1
            connected.append(self.block(self.height))
        self.chain += connected
        self.apply(events.ChainMoved((), tuple(connected)))

    @rule(depth=st.integers(1, 3), longer=st.integers(0, 2))
    def reorganise(self, depth: int, longer: int) -> None:
        orphaned = self.chain[-depth:]
        if not orphaned:
            return
        del self.chain[-depth:]
        self.height = orphaned[0].height - 1
        connected = []
        for _ in range(len(orphaned) + longer):
            self.height += 1
            connected.append(self.block(self.height))
        self.chain += connected
        self.apply(events.ChainMoved(tuple(reversed(orphaned)), tuple(connected)))

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.9, 5.0, 30.0, 33.0, 5_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += round(seconds * NS_PER_S)
        self.apply(events.Tick())

    @rule(target=late, which=st.integers(0, 1))
    def command(self, which: int) -> tuple[RoundId, Event] | None:
        """A command is carried out; its answer may arrive later, twice, or never."""
        wanted = intents(self.round)
        if not wanted:
            return None
        return self.round.id, self.ledger.do(wanted[which % len(wanted)], self.round)

    @rule(answer=late)
    def answer(self, answer: tuple[RoundId, Event] | None) -> None:
        if answer is not None and answer[0] == self.round.id:
            self.apply(answer[1])

    @rule(times=st.integers(1, 12))
    def all_answers_at_once(self, times: int) -> None:
        for _ in range(times):
            for intent in intents(self.round):
                self.apply(self.ledger.do(intent, self.round))
            self.apply(events.Tick())

    @rule(reason=st.sampled_from(["wrong", "other"]), really=st.integers(0, 5))
    def void(self, reason: str, really: int) -> None:
        before = self.round
        if really:
            return
        try:
            self.apply(events.VoidAsked(reason))
        except Failure:
            assert self.round == before

    @rule(open_=st.booleans())
    def follow(self, open_: bool) -> None:
        if self.round.state in ENDED and not intents(self.round):
            self.ended.append(self.round)
            self.round = following(
                self.round, round_id=RoundId(f"r{self.round.number + 1}"), rules=RULES, timing=TIMING
            )
            self.assign({0, 1})
            if open_:
                self.mine(1, 5)

    @invariant()
    def each_opens_once(self) -> None:
        if hasattr(self, "opened"):
            assert len(set(self.opened)) == len(self.opened)

    @invariant()
    def ended_rounds_are_closed_in_the_ledger(self) -> None:
        for round_ in getattr(self, "ended", []):
            expected = {State.COMPLETED: "DISTRIBUTED", State.VOIDED: "VOIDED"}[round_.state]
            if round_.anchor is not None:
                assert self.ledger.states[round_.id] == expected
            assert round_.recorded == (round_.state is State.COMPLETED)

    @invariant()
    def anchors_are_on_the_winning_chain(self) -> None:
        if not hasattr(self, "round") or self.round.anchor is None or not self.round.anchor.on_chain:
            return
        anchor = self.round.anchor
        assert [block.hash for block in self.chain if block.height == anchor.height] == [anchor.hash]
        assert anchor.hash not in anchor.orphaned

    @invariant()
    def times_fit_the_state(self) -> None:
        if not hasattr(self, "round"):
            return
        round_ = self.round
        assert (round_.starts_at_ns is None) == (round_.anchor is None)
        assert (round_.ended_at_ns is None) == (round_.state not in ENDED)
        if round_.state is State.CALCULATING:
            wakes = wakes_at_ns(replace(round_, state=State.ACTIVE))
            assert wakes is not None
            assert self.now >= wakes

    def teardown(self) -> None:
        """Whatever happened: left alone, with time and answers, the round ends."""
        if not hasattr(self, "round") or self.round.anchor is None:
            return
        self.now += 60 * NS_PER_S
        for _ in range(12):
            self.apply(events.Tick())
            for intent in intents(self.round):
                self.apply(self.ledger.do(intent, self.round))
        assert self.round.state in ENDED
        assert intents(self.round) == ()


TestRoundsMachine = RoundsMachine.TestCase
TestRoundsMachine.settings = settings(max_examples=100, stateful_step_count=40)
