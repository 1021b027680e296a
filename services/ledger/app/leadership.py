"""Leading: reign while elected, and step down on anything that makes the state in memory doubtful."""

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

log = logs.logger(__name__)


class Election(Protocol):
    """Decides which of several instances leads."""

    async def lead(self, reign: Callable[[Author, Callable[[], bool]], Awaitable[None]]) -> None:
        """Waits until this instance is elected and then reigns; cancels the reign when it is deposed.

        The reign is told who it is and how to ask whether it is in office. Raises what the reign raises.
        """
        ...


async def keep_leading(ledger: Ledger, election: Election, serving: Serving, clock: Clock) -> None:
    """Endless. Raises JournalBroken: then a person has to look before anything is written again."""
    while True:
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
