"""What a resolver knows: who asks, the services, and loaders of what others show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import strawberry

from graphql_gateway.edge.authentication import Authenticator, Viewer, act_for
from graphql_gateway.edge.tickets import Tickets
from graphql_gateway.execution.documents import Document
from graphql_gateway.execution.memo import Memo
from graphql_gateway.execution.sources import Unplanned
from graphql_gateway.live import Live
from graphql_gateway.live.telling import Telling
from graphql_gateway.loaders import KeyOnly, Loaders
from graphql_gateway.public import Public
from graphql_gateway.safety.budget import Budget, Budgets
from graphql_gateway.safety.documents import Documents
from graphql_gateway.safety.front import Front
from graphql_gateway.safety.price import Charge
from graphql_gateway.services import Services
from graphql_gateway.telemetry import Operation, Outcome
from mesh.batch import CurrentTask, Work
from mesh.errors import Failure
from mesh.interceptors.guards import UserTokenMissing
from mesh.revocations import Revocations


@dataclass(slots=True)
class Parts:
    """What all contexts of this process share."""

    services: Services
    live: Live
    authenticator: Authenticator
    revocations: Revocations
    tickets: Tickets
    budgets: Budgets
    front: Front
    documents: Documents
    memo: Memo
    # Loaders of what is not served here, by name.
    elsewhere: Mapping[str, KeyOnly] = field(default_factory=dict)
    public: Public = field(init=False)

    def __post_init__(self) -> None:
        self.public = Public(self.services)


@dataclass(slots=True)
class Context:
    """One operation: its viewer and its loaders. Those of a WebSocket's operations are made from its own."""

    parts: Parts
    # The client's: of all that runs on one connection.
    budget: Budget
    client_address: str = ""
    client: str = ""
    viewer: Viewer | None = None
    # What the request names it, if it does.
    operation_name: str | None = None
    # Whether the client takes a result in pieces (`@defer`, `@stream`).
    takes_increments: bool = False
    # Told once the operation is found to be valid, before it is carried out.
    on_valid: Callable[[], object] | None = None
    # Of an operation's own context: how far it is, and its document if it was found valid before.
    operation: Operation | None = None
    document: Document | None = None
    # Of an operation on a connection that lasts: that connection's own.
    connection: Context | None = None
    # Of a connection: its client did not end it, and may come back on another.
    is_broken: bool = False
    # Of a subscription that several connections of one log-in share: their viewers, as they are now.
    viewers: Callable[[], Collection[Viewer]] | None = None
    # Of a subscription that may be shared: of the event that its resolver yields next.
    telling: Telling = field(default_factory=Telling)
    # Of an operation's own context, or that of its events: the task that works for it.
    work: Work | None = None
    _loaders: Loaders | None = field(default=None, init=False)

    @property
    def loaders(self) -> Loaders:
        """Reads of this operation, or of this event of a subscription."""
        if self._loaders is None:
            work = self.work or CurrentTask()
            self._loaders = Loaders(self.services, self.parts.public, self.parts.elsewhere, work)
        return self._loaders

    @property
    def services(self) -> Services:
        """The services, called for the viewer."""
        return self.parts.services

    @property
    def live(self) -> Live:
        """What runs beside the requests."""
        return self.parts.live

    @property
    def tickets(self) -> Tickets:
        """Film tickets."""
        return self.parts.tickets

    @property
    def may_return(self) -> bool:
        """Whether the connection broke under the operation, rather than that the client ended it."""
        return self.connection is not None and self.connection.is_broken

    def for_operation(self, name: str | None, operation: Operation) -> Context:
        """A context of its own for one operation: those of one socket run side by side and share no state."""
        return Context(
            self.parts,
            self.budget,
            self.client_address,
            self.client,
            self.viewer,
            operation_name=name,
            takes_increments=self.takes_increments,
            on_valid=self.on_valid,
            operation=operation,
            connection=self.connection,
            work=CurrentTask(),
        )

    def valid(self) -> None:
        """Its document has been validated: it will be carried out."""
        if self.on_valid is not None:
            self.on_valid()

    async def spend(self, charge: Charge) -> None:
        """What the operation costs, before it is begun. Raises RateLimited."""
        if self.operation is not None:
            self.operation.costs(charge.cost)
        await self.budget.spend(charge)

    def executed(self, way: str) -> None:
        """Its answer was made, or will be made, in this way."""
        if self.operation is None:
            return
        if isinstance(way, Unplanned):
            self.operation.executed("not planned", way)
        else:
            self.operation.executed(way)

    def under_way(self) -> None:
        """For subscriptions that start with the next event: all is well, and from here on it only waits."""
        if self.operation is not None:
            self.operation.over(Outcome.OK)

    def require_viewer(self) -> Viewer:
        """The signed-in user. Raises UserTokenMissing."""
        if self.viewer is None:
            raise UserTokenMissing("Log in first: send `Authorization: Bearer <access token>`.")
        return self.viewer

    async def sign_in(self, access_token: str | None) -> None:
        """Makes this context, and the calls of this task, the token's user's. Raises as `viewer_of` does."""
        self.viewer = await self.parts.authenticator.viewer_of(access_token) if access_token else None
        self.budget.user_id = self.viewer.id if self.viewer else None
        act_for(self.viewer)

    async def renew(self) -> None:
        """Before each event of a subscription: reads are fresh, and a revoked session ends it."""
        self._loaders = None
        self.work = CurrentTask()
        # A client may have handed its connection the token that follows the one this operation began with.
        viewers = self.viewers() if self.viewers else [(self.connection or self).viewer]
        refused: Failure | None = None
        for viewer in viewers:
            try:
                await self.sign_in(viewer.access_token if viewer else None)
                break
            except Failure as failure:
                refused = failure
        else:
            if refused is not None:
                raise refused


Info: TypeAlias = strawberry.Info[Context, None]
