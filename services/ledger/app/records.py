"""Rounds as they are shown, found by id: in memory, or in the history when they have left it."""

from __future__ import annotations

from services.ledger.app.history import History
from services.ledger.app.journal import Head
from services.ledger.app.statements import Ask
from services.ledger.domain.machine import Machine
from services.ledger.domain.public_record import PublicRecord, record_of, view_of
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.views import RoundView, view_round


async def find_record(ask: Ask, history: History, round_id: str) -> PublicRecord:
    """The public record as it stands. Raises ROUND_NOT_FOUND, HistoryBroken."""

    def question(machine: Machine, _: Head) -> PublicRecord | None:
        found = machine.rounds.find(round_id)
        return None if found is None else record_of(found)

    return await ask(question) or await _kept(history, round_id)


async def find_round(ask: Ask, history: History, round_id: str) -> RoundView:
    """The round as it stands. Raises ROUND_NOT_FOUND, HistoryBroken."""

    def question(machine: Machine, _: Head) -> RoundView | None:
        found = machine.rounds.find(round_id)
        return None if found is None else view_round(found)

    return await ask(question) or view_of(await _kept(history, round_id))


async def _kept(history: History, round_id: str) -> PublicRecord:
    found = await history.round(round_id)
    if found is None:
        raise Refused(Reason.ROUND_NOT_FOUND, "no round has this id", round_id=round_id)
    return found
