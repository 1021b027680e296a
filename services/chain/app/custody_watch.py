"""Looks again and again whether every coin is accounted for, so that nobody has to ask."""

from __future__ import annotations

from mesh import logs, telemetry
from services.chain.app.books import Books
from services.chain.app.custody import custody
from services.chain.app.ports import Ledger
from services.chain.domain.failures import LedgerInDoubt

log = logs.logger(__name__)

_difference = telemetry.gauge(
    "chain.custody.difference", "Coins held less what the ledger says must be there.", unit="{sat}"
)


class CustodyWatch:
    """Measures the difference, and says in the log when it changes."""

    def __init__(self, *, books: Books, ledger: Ledger) -> None:
        self._books = books
        self._ledger = ledger
        self._told = 0

    async def look(self) -> None:
        """Once; while the ledger is in doubt the last look stands."""
        try:
            found = await custody(self._books, self._ledger)
        except LedgerInDoubt:
            return
        difference = found.difference_sats
        _difference.set(difference)
        if difference != self._told:
            self._told = difference
            if difference:
                log.error("coins and ledger differ", difference_sats=difference)
            else:
                log.info("coins and ledger agree again")
