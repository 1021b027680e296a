"""Standing by and leading: follow the journal, reign while elected, and tell who may ask what here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from mesh import logs
from mesh.clock import Clock
from mesh.errors import Failure
from services.ledger.app.journal import Author, Fenced, Unresolved
from services.ledger.app.ledger import Ledger, Serving
from services.ledger.domain.reasons import LedgerImbalance

# Pause before this instance tries to lead again, so that a store in trouble is not hammered.
AGAIN_S = 0.2
# How often it is looked at whether reads are answered here.
READABLE_EVERY_S = 0.25

log = logs.logger(__name__)


class Election(Protocol):
    """Decides which of several instances leads."""

    async def lead(self, reign: Callable[[Author, Callable[[], bool]], Awaitable[None]]) -> None:
        """Waits until this instance is elected and then reigns; cancels the reign when it is deposed.

        The reign is told who it is and how to ask whether it is in office. Raises what the reign raises.
        """
        ...


async def keep_leading(ledger: Ledger, election: Election, serving: Serving, clock: Clock) -> None:
    """Leads whenever elected, beside `ledger.follow`. Endless.

    Steps down on anything that makes the state in memory doubtful, and stands again.
    """
    while True:
        # Whoever has yet to read the journal would keep everybody waiting.
        await ledger.ready()
        try:
            await election.lead(lambda author, in_office: ledger.reign(author, serving, in_office))
        except Fenced as problem:
            log.warning("fenced", problem=str(problem))
        except Unresolved as problem:
            log.warning("in doubt, reading the journal again", problem=str(problem))
        except LedgerImbalance:
            log.exception("a command broke an invariant and was thrown away with its batch")
        except Failure as problem:
            log.warning("record store in trouble", reason=problem.reason, problem=problem.message)
        await clock.sleep(AGAIN_S)


async def keep_telling_readable(ledger: Ledger, serving: Serving, clock: Clock) -> None:
    """Tells, whenever it changes, whether reads that may be answered anywhere are answered here. Endless."""
    told: bool | None = None
    while True:
        if ledger.readable is not told:
            told = ledger.readable
            await serving(told)
        await clock.sleep(READABLE_EVERY_S)
