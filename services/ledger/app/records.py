"""The public record of a round, found by its id: the one place that knows where records come from."""

from __future__ import annotations

from services.ledger.app.journal import Head
from services.ledger.domain.machine import Machine
from services.ledger.domain.public_record import PublicRecord, record_of


def find_record(machine: Machine, _: Head, *, round_id: str) -> PublicRecord:
    """The record as it stands. Raises ROUND_NOT_FOUND."""
    return record_of(machine.rounds.get(round_id))
