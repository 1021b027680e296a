"""Election of the one instance there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh.ids import uuid7
from services.ledger.app.journal import Author


class SoleElection:
    """Elects this instance at once. Two of them would fence each other by the journal."""

    async def lead(self, reign: Callable[[Author], Awaitable[None]]) -> None:
        """Reigns under a fresh id."""
        await reign(Author(uuid7(), 0))
