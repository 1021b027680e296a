"""What must hold at the end: by now every client knows everything, and computes what everyone should have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mesh.clock import NS_PER_S
from services.ledger.app.journal import JournalBroken
from services.ledger.app.queries import accounts
from services.ledger.domain import audit
from services.ledger.domain.books import CHAIN_COINS, FEE, FLOAT, user_account
from services.ledger.domain.sessions import SessionView, StopReason
from tests.simulation.actors.gateway import Seen
from tests.simulation.actors.rounds import Played
from tests.simulation.checks import same
from tests.simulation.instance import state_hash
from tests.simulation.shares import recompute
from tests.simulation.world import World


def problems(world: World, rounds: Sequence[Played], seen: dict[str, Seen]) -> Iterator[str]:
    """Everything that is wrong at the end."""
    yield from _replay(world)
    yield from world.expected.problems(world.checker.postings)
    yield from _sessions(world, rounds, seen)
    for played in rounds:
        yield from recompute(world, played)
    yield from _balances(world)


def _replay(world: World) -> Iterator[str]:
    """A ledger without faults, made anew of all records, ends the same and gave every answer."""
    fresh = world.reference()
    answers: dict[bytes, list[object]] = {}
    try:
        for step in fresh.follow():
            for wire, outcome in step.answers:
                answers.setdefault(wire, []).append(outcome)
    except JournalBroken as broken:
        yield f"a replay of everything: {broken}"
        return
    if fresh.head != world.checker.reference.head:
        yield f"the journal ends at {fresh.head.sequence}, not at {world.checker.reference.head.sequence}"
    if state_hash(fresh.machine) != state_hash(world.checker.reference.machine):
        yield "a replay of everything ends in another state"
    if state_hash(fresh.machine) != state_hash(fresh.twin):
        yield "a ledger that was loaded from images ends in another state"
    if state_hash(fresh.machine) != state_hash(fresh.from_snapshot()):
        yield "a ledger that starts from the newest snapshot ends in another state"
    yield from audit.problems(fresh.machine)
    for wire, outcome in world.checker.acknowledged.items():
        if not any(same(outcome, found) for found in answers.get(wire, ())):  # type: ignore[arg-type]
            yield f"acknowledged with {outcome!r}, but not in the journal so"


def _sessions(world: World, rounds: Sequence[Played], seen: dict[str, Seen]) -> Iterator[str]:
    by_round = {played.round_id: played for played in rounds}
    for session in world.checker.sessions.values():
        world.trace.count(f"sessions ended: {session.stop.name}")
        known = seen.get(session.id)
        if known is None:
            yield f"nobody opened {session!r}"
            continue
        yield from (
            f"{problem}: {session!r}" for problem in _session(session, known, by_round[session.round_id])
        )


def _session(session: SessionView, known: Seen, played: Played) -> Iterator[str]:
    rates, seconds = played.rates, session.seconds
    if session.stop is StopReason.RUNNING:
        yield "still running"
    if seconds > known.sent or seconds > rates.session_max_s:
        yield f"counted more than the {known.sent} s that were reported, or allowed"
    if session.opened_ns + seconds * NS_PER_S > min(session.closed_ns, played.locks_ns):
        yield "counted seconds behind its end or the lock"
    if session.burned_sats != (seconds if seconds >= rates.free_below_s else 0) * rates.second_price_sats:
        yield "burned what its seconds do not cost"
    if session.burned_sats > session.budget_sats:
        yield "burned more than its budget"
    if seconds < known.told_seconds or session.burned_sats < known.told_burned:
        yield f"acknowledged were {known.told_seconds} s, {known.told_burned} sat"
    if known.closed is not None and known.closed != session:
        yield f"acknowledged was {known.closed!r}"


def _balances(world: World) -> Iterator[str]:
    names = [*map(user_account, world.users), CHAIN_COINS, FEE, FLOAT]
    found = {view.name: view for view in accounts(world.checker.reference.machine, names)}
    for name in names:
        view = found.get(name)
        actual = 0 if view is None else view.balance - view.debt
        if actual != world.expected.net[name]:
            yield f"{name} has {actual}, should have {world.expected.net[name]}"
        if view is not None and view.held:
            yield f"{name} still holds {view.held}"
