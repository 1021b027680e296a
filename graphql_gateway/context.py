"""What a resolver knows: who asks, the services, and loaders that gather reads into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import strawberry
from google.protobuf.message import Message
from satreel.chain.v1 import chain_pb2, chain_service_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2
from satreel.market.v1 import market_pb2, market_service_pb2
from strawberry.dataloader import DataLoader, get_current_batch

from graphql_gateway.edge.authentication import Authenticator, Viewer, act_for
from graphql_gateway.edge.tickets import Tickets
from graphql_gateway.execution.documents import Document
from graphql_gateway.execution.memo import Memo
from graphql_gateway.execution.sources import Unplanned
from graphql_gateway.live import Live
from graphql_gateway.live.telling import Telling
from graphql_gateway.public import Public
from graphql_gateway.safety.budget import Budget, Budgets
from graphql_gateway.safety.documents import Documents
from graphql_gateway.safety.price import Charge
from graphql_gateway.services import Services
from graphql_gateway.telemetry import Operation, Outcome
from mesh import caller
from mesh.batching import Batcher, Shared
from mesh.errors import Failure, RemoteFailure, Unavailable
from mesh.interceptors.guards import UserTokenMissing
from mesh.revocations import Revocations

BATCH_MAX = 1_000


class Load:
    """A request's reads of one kind of public objects: each id is asked for once, together with others'."""

    __slots__ = ("_asked", "_batcher")

    def __init__(self, batcher: Batcher[str, Any]) -> None:
        self._batcher = batcher
        self._asked: dict[str, Shared] = {}

    def load(self, key: str) -> Awaitable[Any]:
        """The message, or None; resolvers return it as the GraphQL type that shows it."""
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = self._batcher.ask(key)
        return asked


class OwnLoad(DataLoader[str, Any]):
    """A request's reads of what depends on its viewer, or has no BatchGet call: one by one, for it alone."""

    def load(self, key: str) -> Awaitable[Any]:
        """The message, or None."""
        future = self.cache_map.get(key)
        if future is None:
            # graphql-core cancels fields beside one that failed. With a plain future that would end the whole
            # request, as every other field that waits for it would be cancelled too.
            future = Shared(loop=self.loop)
            self.cache_map.set(key, future)
            get_current_batch(self).add_task(key, future)
        return future


class KeyOnly:
    """In place of a loader, where the objects are another subgraph's: gives the key, for a router to join."""

    def __init__(self, message: Callable[..., Message]) -> None:
        self._message = message

    async def load(self, wanted: str) -> Message:
        """A message that has its id and nothing else."""
        return self._message(id=wanted)


class Loaders:
    """Reads of one request. What is public is gathered with others'; what is the viewer's never is."""

    def __init__(self, services: Services, public: Public, elsewhere: Mapping[str, KeyOnly]) -> None:
        self._services = services
        self._public = public
        # These are found in place of the properties of the same names.
        vars(self).update(elsewhere)

    @cached_property
    def users(self) -> Load:
        """Users by id."""
        return Load(self._public.users)

    @cached_property
    def memes(self) -> Load:
        """Memes by id."""
        return Load(self._public.memes)

    @cached_property
    def titles(self) -> Load:
        """Titles by meme id."""
        return Load(self._public.titles)

    @cached_property
    def quotes(self) -> Load:
        """What the market knows, by meme id."""
        return Load(self._public.quotes)

    @cached_property
    def listings(self) -> Load:
        """Listings by id."""
        return Load(self._public.listings)

    @cached_property
    def offers(self) -> Load:
        """Offers by id."""
        return Load(self._public.offers)

    @cached_property
    def inscriptions(self) -> Load:
        """Titles on chain, by meme id."""
        return Load(self._public.inscriptions)

    @cached_property
    def records(self) -> Load:
        """Results on chain, by round id."""
        return Load(self._public.records)

    @cached_property
    def rounds(self) -> Load:
        """Rounds by id."""
        return Load(self._public.rounds)

    @cached_property
    def transactions(self) -> Load:
        """Transactions of ours by txid."""
        return Load(self._public.transactions)

    @cached_property
    def sales(self) -> OwnLoad:
        """Sales by id."""

        async def find(sale_id: str) -> market_pb2.Sale:
            request = market_service_pb2.GetSaleRequest(sale_id=sale_id)
            return (await self._services.market.GetSale(request)).sale

        return _one_by_one(find, "SALE_NOT_FOUND")

    @cached_property
    def withdrawals(self) -> OwnLoad:
        """The viewer's withdrawals by id."""

        async def find(withdrawal_id: str) -> chain_pb2.Withdrawal | None:
            if caller.current().user_id is None:
                return None
            request = chain_service_pb2.GetWithdrawalRequest(withdrawal_id=withdrawal_id)
            return (await self._services.chain.GetWithdrawal(request)).withdrawal

        return _one_by_one(find, "WITHDRAWAL_NOT_FOUND", "NOT_YOURS")

    @cached_property
    def viewings(self) -> OwnLoad:
        """The viewer's paid viewings by id."""

        async def find(session_id: str) -> ledger_pb2.Session | None:
            # The ledger lets a gateway that asks for nobody see them all.
            if caller.current().user_id is None:
                return None
            request = ledger_service_pb2.GetSessionRequest(session_id=session_id)
            return (await self._services.ledger.GetSession(request)).session

        return _one_by_one(find, "SESSION_NOT_FOUND")


def _one_by_one(find: Callable[[str], Awaitable[Any]], *missing: str) -> OwnLoad:
    """`missing` are the reasons that mean there is none for this viewer."""

    async def find_or_none(wanted: str) -> Message | None:
        try:
            found: Message | None = await find(wanted)
        except RemoteFailure as failure:
            if failure.reason not in missing:
                raise
            return None
        return found

    async def load(ids: list[str]) -> list[Message | None]:
        try:
            return await asyncio.gather(*map(find_or_none, ids))
        except asyncio.CancelledError as cancelled:
            # Nothing else would end those who wait.
            raise Unavailable("the gateway is stopping") from cancelled

    return OwnLoad(load_fn=load, max_batch_size=BATCH_MAX)


@dataclass(slots=True)
class Parts:
    """What all contexts of this process share."""

    services: Services
    live: Live
    authenticator: Authenticator
    revocations: Revocations
    tickets: Tickets
    budgets: Budgets
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
    _loaders: Loaders | None = field(default=None, init=False)

    @property
    def loaders(self) -> Loaders:
        """Reads of this operation, or of this event of a subscription."""
        if self._loaders is None:
            self._loaders = Loaders(self.services, self.parts.public, self.parts.elsewhere)
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
