"""Election by a lease in the record store; what a leader writes is fenced by the journal as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh import leases
from mesh.leases import Leadership, Lease
from services.ledger.app.journal import Author

LEASE = "ledger"


class LeaseElection:
    """Elects the one instance that holds the lease."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def lead(self, reign: Callable[[Author, Callable[[], bool]], Awaitable[None]]) -> None:
        """Reigns whenever the lease is held; raises what the reign raises."""

        async def work(leadership: Leadership) -> None:
            await reign(Author(self._lease.owner, leadership.token), lambda: leadership.held)

        await leases.lead(self._lease, work)
