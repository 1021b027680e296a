"""Verification: replays the whole journal and checks every invariant of the state it makes."""

from __future__ import annotations

from dataclasses import dataclass

from services.ledger.app.journal import Head, Journal, JournalBroken
from services.ledger.app.replay import replay
from services.ledger.domain import audit
from services.ledger.domain.machine import Machine
from services.ledger.domain.views import Totals, totals_of


@dataclass(frozen=True, slots=True)
class Finding:
    """What a verification found; no problems: all is well."""

    head: Head
    totals: Totals
    digest: str
    problems: tuple[str, ...]


async def verify(journal: Journal) -> Finding:
    """Checks hashes, order and answers of every record, then sums, holds, debts, postings and titles."""
    machine, head = Machine(), Head()
    problems: list[str] = []
    try:
        async for entry in journal.read(head):
            replay(machine, entry)
            head = entry.head
    except JournalBroken as broken:
        problems.append(f"{broken}; checked up to record {head.sequence}")
    problems += audit.problems(machine)
    return Finding(head, totals_of(machine.books), audit.digest(machine), tuple(problems))
