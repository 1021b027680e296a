"""Reads: who may answer them, and what their replies say of where they come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import grpc.aio

from mesh.interceptors.leading import HEALTH_KEY
from services.ledger.app.journal import Head
from services.ledger.app.ledger import Ledger, Standing
from services.ledger.domain.machine import Machine

# Health of a ledger that answers reads, the leader or a standby whose state is fresh enough.
READS = "satreel.ledger.v1.LedgerService/reads"

ROLE_KEY = "satreel-ledger-role"
SEQUENCE_KEY = "satreel-ledger-sequence"
STALENESS_KEY = "satreel-ledger-staleness-ms"

Context = grpc.aio.ServicerContext[Any, Any]
Seen = TypeVar("Seen")


async def ask(ledger: Ledger, context: Context, question: Callable[[Machine, Head], Seen]) -> Seen:
    """Asks for a caller; says ahead of the answer, or of the refusal, what the state behind it is worth."""
    standing: Standing | None = None

    def noted(state: Machine, head: Head) -> Seen:
        nonlocal standing
        standing = ledger.standing
        return question(state, head)

    try:
        return await ledger.ask(noted, anywhere=_found_by(context) == READS)
    finally:
        if standing is not None:
            await context.send_initial_metadata(_shown(standing))


def _found_by(context: Context) -> str | bytes | None:
    """The health name by which the caller found this server."""
    found = (value for key, value in context.invocation_metadata() or () if key == HEALTH_KEY)
    return next(found, None)


def _shown(standing: Standing) -> tuple[tuple[str, str], ...]:
    staleness_ms = math.ceil(standing.staleness_s * 1000)  # rounded up: it is a bound
    return (
        (ROLE_KEY, "leader" if standing.leads else "standby"),
        (SEQUENCE_KEY, str(standing.sequence)),
        (STALENESS_KEY, str(staleness_ms)),
    )
