"""Writing the history: whole pages and closed rounds go from memory into records."""

from __future__ import annotations

from services.ledger.app.history import HistoryStore, Kind, page_name
from services.ledger.domain import pages
from services.ledger.domain.machine import Machine
from services.ledger.domain.pages import PAGE, Written
from services.ledger.domain.public_record import record_of
from services.ledger.domain.record_json import encode


async def write_history(machine: Machine, store: HistoryStore, before: Written) -> Written:
    """Writes what waits in memory and can be written, drops it there, and says how far the history reaches.

    It may be interrupted and done again. Raises HistoryBroken and the store's failures.
    """
    postings, sessions = before.postings, before.sessions
    for page in pages.postings_waiting(machine.books):
        await store.put(Kind.POSTINGS, page_name(page), pages.postings_page(machine.books, page))
        postings = (page + 1) * PAGE
    for page in pages.sessions_waiting(machine.meter):
        await store.put(Kind.SESSIONS, page_name(page), pages.sessions_page(machine.meter, page))
        sessions = (page + 1) * PAGE
    last_round = before.last_round
    for one in machine.rounds.leaving:
        await store.put(Kind.ROUND, one.id, encode(record_of(one)))
        last_round = one.id
    written = Written(postings, sessions, last_round)
    machine.trim(written)
    return written
