"""The round's life: one transition table, and pure functions over it.

`step(round, event, now)` says what an event makes of a round; `intents(round)` says what is to be done in
the world as long as the round looks like this. Both depend on the persisted round alone, so a start after a
crash is going on: read the round, carry out its intents. Every effect is an idempotent command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mesh.errors import IdReused
from services.rounds.domain import events
from services.rounds.domain.events import Event
from services.rounds.domain.failures import StateConflict
from services.rounds.domain.ranking import payable, standings
from services.rounds.domain.record import result_record
from services.rounds.domain.values import (
    ENDED,
    NS_PER_MS,
    NS_PER_S,
    Anchor,
    Block,
    InstantNs,
    MemeId,
    Round,
    RoundId,
    Rules,
    State,
    Timing,
)

# A clock that is so far behind the end of a pause has been set back.
SET_BACK_NS = 60 * NS_PER_S


class Intent(StrEnum):
    """Something to be done in the world; repeated until the event that tells of it came back."""

    OPEN_LEDGER = "OPEN_LEDGER"
    RETIRE_ENTRIES = "RETIRE_ENTRIES"
    LOCK_LEDGER = "LOCK_LEDGER"
    PAY_POOL = "PAY_POOL"
    RECORD_RESULT = "RECORD_RESULT"
    QUEUE_PAYOUTS = "QUEUE_PAYOUTS"
    VOID_LEDGER = "VOID_LEDGER"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state that can be, and by what."""

    source: State
    event: type[Event]
    target: State
    when: str


TRANSITIONS = (
    Transition(State.PENDING, events.ChainMoved, State.ACTIVE, "a block, entries, the pause is over"),
    Transition(State.ACTIVE, events.Tick, State.CALCULATING, "lock and grace are over"),
    Transition(State.CALCULATING, events.PayoutsQueued, State.COMPLETED, "paid and recorded"),
    Transition(State.PENDING, events.VoidAsked, State.VOIDED, "nobody has paid yet"),
    Transition(State.ACTIVE, events.TakingsReturned, State.VOIDED, "an administrator asked"),
    Transition(State.CALCULATING, events.TakingsReturned, State.VOIDED, "asked before the pool was paid"),
    Transition(State.ACTIVE, events.LedgerRefused, State.VOIDED, "it was never open"),
    Transition(State.CALCULATING, events.LedgerRefused, State.VOIDED, "it was never open"),
)
_ALLOWED = frozenset((found.source, found.event, found.target) for found in TRANSITIONS)


class LeftTransitionTableError(Exception):
    """A handler left the transition table: a mistake in this module."""


def first_round(*, round_id: RoundId, rules: Rules, timing: Timing, now_ns: InstantNs) -> Round:
    """The very first round. Any block seen from now on may open it."""
    return Round(round_id, 1, State.PENDING, rules, timing, opens_after_ns=now_ns)


def following(before: Round, *, round_id: RoundId, rules: Rules, timing: Timing) -> Round:
    """The round after one that has ended."""
    if before.ended_at_ns is None:
        raise LeftTransitionTableError(f"round {before.number} has not ended")
    opens_after_ns = InstantNs(before.ended_at_ns + timing.gap_ns)
    return Round(round_id, before.number + 1, State.PENDING, rules, timing, opens_after_ns)


def step(round_: Round, event: Event, now_ns: InstantNs) -> Round:
    """What the event makes of the round; the same round when it does not concern it.

    Raises StateConflict and IdReused for VoidAsked, RoundImbalanceError for PoolPaid.
    """
    after = _HANDLERS[type(event)](round_, event, now_ns)
    if after.state is not round_.state and (round_.state, type(event), after.state) not in _ALLOWED:
        raise LeftTransitionTableError(f"{round_.state} by {type(event).__name__} to {after.state}")
    return after


def intents(round_: Round) -> tuple[Intent, ...]:
    """What is to be done now, in this order; none waits for the success of the one before."""
    if round_.anchor is None:
        return ()
    money = () if round_.state in ENDED else _money_intent(round_)
    return money if round_.entries_retired else (*money, Intent.RETIRE_ENTRIES)


def _money_intent(round_: Round) -> tuple[Intent, ...]:
    # A round that is to be voided is opened first if it was not: only then can no late command open it in the
    # ledger behind our back.
    if not round_.ledger_open:
        return (Intent.OPEN_LEDGER,)
    if round_.void_reason:
        return (Intent.VOID_LEDGER,)
    if round_.state is State.ACTIVE:
        return ()
    if round_.tally is None:
        return (Intent.LOCK_LEDGER,)
    if round_.distribution is None:
        return (Intent.PAY_POOL,)
    return (Intent.QUEUE_PAYOUTS,) if round_.recorded else (Intent.RECORD_RESULT,)


def wakes_at_ns(round_: Round) -> InstantNs | None:
    """When the next Tick matters; None when none does."""
    if round_.state is not State.ACTIVE or round_.locks_at_ns is None:
        return None
    return InstantNs(round_.locks_at_ns + round_.timing.grace_ns)


def ranking(round_: Round) -> tuple[MemeId, ...]:
    """The memes the pool is to be paid to, by rank, from the final tally."""
    return payable(standings(round_.entries, round_.tally or ()))


def _assigned(round_: Round, event: events.EntriesAssigned, _now: InstantNs) -> Round:
    if round_.state is not State.PENDING:
        return round_
    return replace(round_, entries=event.entries)


def _chain_moved(round_: Round, event: events.ChainMoved, now_ns: InstantNs) -> Round:
    if round_.state is State.PENDING:
        block = next((found for found in event.connected if _opens(round_, found, now_ns)), None)
        return _opened(round_, block, now_ns) if block else round_
    anchor = round_.anchor
    if anchor is None:
        return round_
    if any(block.hash == anchor.hash for block in event.orphaned):
        anchor = replace(anchor, on_chain=False)
    winner = next((block for block in event.connected if block.height == anchor.height), None)
    return replace(round_, anchor=_moved(anchor, winner.hash) if winner else anchor)


def _anchor_checked(round_: Round, event: events.AnchorChecked, _now: InstantNs) -> Round:
    anchor = round_.anchor
    if anchor is None or event.block.height != anchor.height:
        return round_
    return replace(round_, anchor=_moved(anchor, event.block.hash))


def _moved(anchor: Anchor, winner: str) -> Anchor:
    known = anchor.orphaned if winner == anchor.hash else (*anchor.orphaned, anchor.hash)
    return Anchor(anchor.height, winner, tuple(old for old in known if old != winner))


def _opens(round_: Round, block: Block, now_ns: InstantNs) -> bool:
    # The round before ended by a clock that was ahead: its pause would last until that time comes again.
    set_back = now_ns + SET_BACK_NS < round_.opens_after_ns
    return bool(round_.entries) and (block.seen_at_ns >= round_.opens_after_ns or set_back)


def _opened(round_: Round, block: Block, now_ns: InstantNs) -> Round:
    starts_at_ns = InstantNs(now_ns // NS_PER_MS * NS_PER_MS)
    return replace(
        round_,
        state=State.ACTIVE,
        anchor=Anchor(block.height, block.hash),
        starts_at_ns=starts_at_ns,
        locks_at_ns=InstantNs(starts_at_ns + round_.timing.length_ns),
    )


def _tick(round_: Round, _event: events.Tick, now_ns: InstantNs) -> Round:
    wakes = wakes_at_ns(round_)
    return replace(round_, state=State.CALCULATING) if wakes is not None and now_ns >= wakes else round_


def _ledger_opened(round_: Round, event: events.LedgerOpened, _now: InstantNs) -> Round:
    return replace(round_, ledger_open=True, carried_in_sats=event.carried_in_sats)


def _ledger_refused(round_: Round, event: events.LedgerRefused, now_ns: InstantNs) -> Round:
    # Nobody could pay in a round that the ledger never opened; left alone it would stand in the way for ever.
    if round_.ledger_open or round_.state in ENDED:
        return round_
    reason = round_.void_reason or f"the ledger refused it: {event.reason}"
    return replace(round_, state=State.VOIDED, void_reason=reason, ended_at_ns=_end(now_ns))


def _retired(round_: Round, _event: events.EntriesRetired, _now: InstantNs) -> Round:
    return replace(round_, entries_retired=True)


def _locked(round_: Round, event: events.LedgerLocked, _now: InstantNs) -> Round:
    return replace(round_, tally=event.tally) if round_.state is State.CALCULATING else round_


def _pool_paid(round_: Round, event: events.PoolPaid, _now: InstantNs) -> Round:
    # The record is fixed here: the chain service is asked for the same, whatever the chain does meanwhile.
    if round_.state is not State.CALCULATING or round_.tally is None or round_.distribution is not None:
        return round_
    record_json = result_record(round_, round_.tally, event.distribution)
    return replace(round_, distribution=event.distribution, record_json=record_json, void_reason="")


def _result_accepted(round_: Round, event: events.ResultAccepted, _now: InstantNs) -> Round:
    # What was told meanwhile is at least as new, and what comes later is told again.
    return replace(round_, recorded=True, txid=round_.txid or event.txid)


def _transaction_known(round_: Round, event: events.TransactionKnown, _now: InstantNs) -> Round:
    # It may be told before the chain service has answered that it keeps the record.
    return replace(round_, txid=event.txid) if round_.record_json else round_


def _payouts_queued(round_: Round, _event: events.PayoutsQueued, now_ns: InstantNs) -> Round:
    if round_.state is not State.CALCULATING or not round_.recorded:
        return round_
    return replace(round_, state=State.COMPLETED, ended_at_ns=_end(now_ns))


def _void_asked(round_: Round, event: events.VoidAsked, now_ns: InstantNs) -> Round:
    if round_.void_reason:
        if round_.void_reason != event.reason:
            raise IdReused("the round was voided before with another reason")
        return round_
    if round_.state is State.COMPLETED or round_.distribution is not None:
        raise StateConflict("the pool of the round is paid: it cannot be undone", state=round_.state)
    asked = replace(round_, void_reason=event.reason)
    if round_.state is State.PENDING:
        return replace(asked, state=State.VOIDED, ended_at_ns=_end(now_ns))
    return asked


def _takings_returned(round_: Round, _event: events.TakingsReturned, now_ns: InstantNs) -> Round:
    if round_.state in ENDED:
        return round_
    return replace(round_, state=State.VOIDED, ended_at_ns=_end(now_ns))


def _void_refused(round_: Round, _event: events.VoidRefused, _now: InstantNs) -> Round:
    return round_ if round_.state in ENDED else replace(round_, void_reason="")


def _end(now_ns: InstantNs) -> InstantNs:
    return InstantNs(now_ns // NS_PER_MS * NS_PER_MS)


# Each handler takes the event it stands beside, which a mapping's type cannot say.
_HANDLERS: Mapping[type[Event], Callable[[Round, Any, InstantNs], Round]] = {
    events.EntriesAssigned: _assigned,
    events.ChainMoved: _chain_moved,
    events.AnchorChecked: _anchor_checked,
    events.Tick: _tick,
    events.LedgerOpened: _ledger_opened,
    events.LedgerRefused: _ledger_refused,
    events.EntriesRetired: _retired,
    events.LedgerLocked: _locked,
    events.PoolPaid: _pool_paid,
    events.ResultAccepted: _result_accepted,
    events.TransactionKnown: _transaction_known,
    events.PayoutsQueued: _payouts_queued,
    events.VoidAsked: _void_asked,
    events.TakingsReturned: _takings_returned,
    events.VoidRefused: _void_refused,
}
