"""What must hold after every record and every answer: compared with a ledger that reads the store's truth."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from services.ledger.app.journal import Head
from services.ledger.app.orders import Order
from services.ledger.app.queries import accounts
from services.ledger.domain import audit
from services.ledger.domain.machine import Machine
from services.ledger.domain.reasons import Refused
from services.ledger.domain.sessions import SessionView
from services.ledger.domain.views import AccountView, PostingView, view_posting
from tests.simulation.instance import Instance, NoAnswer, Outcome, Reading, Reference, Step, state_hash
from tests.simulation.node import Reply, Seen
from tests.simulation.trace import Trace

# A digest of everything is compared at every so many looks at a leader.
DIGEST_EVERY = 10
ASK_WITHIN_S = 2.0


class Checker:
    """Follows the journal as it grows, and everything that instances say of it."""

    def __init__(self, reference: Reference, trace: Trace, fail: Callable[[str], None]) -> None:
        self.reference = reference
        self.postings: list[PostingView] = []
        # As they stood last.
        self.sessions: dict[str, SessionView] = {}
        # Every answer that reached a client, the first of its order.
        self.acknowledged: dict[bytes, Outcome] = {}
        # No reading that begins now may show less.
        self.floor = 0
        # Until then old states may be taken for new ones: a lease or a clock has failed.
        self.lenient_until_s = 0.0
        # Users whose accounts are kept for each record, to be compared with what readers see.
        self.watched: Sequence[str] = ()
        self._trace = trace
        self._fail = fail
        self._answers: dict[bytes, list[tuple[int, Outcome]]] = {}
        self._hashes: dict[int, bytes] = {0: b""}
        self._results: dict[int, bytes] = {}
        self._accounts: dict[int, list[AccountView]] = {0: []}
        self._stable: set[bytes] = set()
        self._looks = 0
        # When each record came to be, the first first.
        self._landed_s: list[float] = []

    def landed(self, key: str) -> None:
        """A record came to be in the journal."""
        try:
            for step in self.reference.follow():
                self._check(step)
        except Exception as broken:
            self._fail(f"record {key}: {type(broken).__name__}: {broken}")

    def committed(self, name: str, head: Head) -> None:
        """An instance holds the record for committed."""
        if self._hashes.get(head.sequence) != head.hash:
            self._fail(f"{name} committed record {head.sequence}, which is not in the store")

    def replied(self, name: str, order: Order, outcome: Outcome) -> int:
        """An answer leaves an instance: by now the store has the command, with this very answer."""
        for sequence, answer in reversed(self._answers.get(order.wire, [])):
            if same(answer, outcome):
                return sequence
        self._fail(f"{name} answers {outcome!r} to what the journal does not hold so: {order.command!r}")
        return 0

    def keep_equal(self, order: Order) -> None:
        """All answers to this order are to be the same."""
        self._stable.add(order.wire)

    def forget_equal(self) -> None:
        """From now on answers may differ from those before: ids were forgotten."""
        self._stable.clear()

    def arrived(self, order: Order, reply: Reply) -> None:
        """An answer reached its client, perhaps again."""
        self.floor = max(self.floor, reply.sequence)
        first = self.acknowledged.get(order.wire)
        if first is None and order.wire not in self.acknowledged:
            self.acknowledged[order.wire] = reply.value
            return
        self._trace.count("answers given twice")
        if order.wire in self._stable and not same(first, reply.value):
            self._fail(f"answered {first!r}, then {reply.value!r}: {order.command!r}")

    def fell(self, name: str, problem: BaseException) -> None:
        """An instance ended by itself."""
        self._fail(f"{name} ended by itself: {type(problem).__name__}: {problem}")

    def read(self, how: Reading, floor: int, seen: Seen) -> None:
        """What a reader saw is the state as of that record, and that is as new as it was said to be."""
        head = seen.head
        if self._hashes.get(head.sequence) != head.hash or self._accounts.get(head.sequence) != seen.value:
            self._fail(f"read {seen!r}, which is not the state as of record {head.sequence}")
        if how is Reading.ANYWHERE:
            floor = bisect_left(self._landed_s, seen.current_s)
        if head.sequence < floor and self._trace.now_s > self.lenient_until_s:
            self._fail(f"read {how.name} as of record {head.sequence}, but {floor} was committed before")

    async def look_at(self, instance: Instance) -> None:
        """Compares what a leader has in memory with the truth."""
        with suppress(NoAnswer, TimeoutError):
            async with asyncio.timeout(ASK_WITHIN_S):
                await instance.ask(self._compare)

    def _compare(self, machine: Machine, head: Head) -> None:
        self._looks += 1
        self._trace.count("leaders looked at")
        if head.sequence and self._results.get(head.sequence) != machine.result_hash:
            self._fail(f"a leader at record {head.sequence} has other results than a replay")
        if self._looks % DIGEST_EVERY == 0 and head == self.reference.head:
            self._trace.count("digests compared")
            if state_hash(machine) != state_hash(self.reference.machine):
                self._fail(f"a leader at record {head.sequence} has another state than a replay")

    def _check(self, step: Step) -> None:
        sequence = step.head.sequence
        self._trace.note("store", f"record {sequence}: {_kinds(step)}")
        self._trace.count("records")
        self._trace.count("commands", len(step.answers))
        self._landed_s.append(self._trace.now_s)
        self._hashes[sequence] = step.head.hash
        self._results[sequence] = step.result_hash
        for wire, outcome in step.answers:
            self._answers.setdefault(wire, []).append((sequence, outcome))
            if isinstance(outcome, Refused):
                self._trace.count(f"refused: {outcome.reason}")
        books, changes = self.reference.machine.books, step.changes
        first = changes.first_posting
        self.postings += [view_posting(books, first + n) for n in range(len(changes.postings))]
        self.sessions.update((session.id, session) for session in step.changes.sessions)
        self._accounts[sequence] = accounts(self.reference.machine, self.watched)
        for problem in audit.problems(self.reference.machine):
            self._fail(f"after record {sequence}: {problem}")


def _kinds(step: Step) -> str:
    kinds = Counter(type(command).__name__ for command in step.commands)
    return ", ".join(f"{kind} ×{times}" for kind, times in kinds.items()) or "time"


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two answers say the same."""
    if isinstance(one, Refused) and isinstance(other, Refused):
        return one.number is other.number
    return one == other
