"""Reads of one request. What is public is gathered with others'; what is the viewer's never is.

Several fields may wait for the same, and graphql-core cancels fields beside one that failed. So what is
loaded does not end with a field, but with the task that works for the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cached_property
from typing import Any

from google.protobuf.message import Message
from satreel.chain.v1 import chain_pb2, chain_service_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2
from satreel.market.v1 import market_pb2, market_service_pb2

from graphql_gateway.public import Public
from graphql_gateway.services import Services
from mesh import caller
from mesh.batch import Answer, Work
from mesh.batching import Batcher
from mesh.errors import RemoteFailure


class Load:
    """Reads of one kind of public objects: each id is asked for once, together with others'."""

    __slots__ = ("_asked", "_batcher", "_work")

    def __init__(self, batcher: Batcher[str, Any], work: Work) -> None:
        self._batcher = batcher
        self._work = work
        self._asked: dict[str, Answer] = {}

    def load(self, key: str) -> Awaitable[Any]:
        """The message, or None; resolvers return it as the GraphQL type that shows it."""
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = self._batcher.ask(key, self._work)
        return asked


class OwnCall(asyncio.Task[Any]):
    """A call that several fields may wait for."""

    def __init__(self, call: Coroutine[Any, Any, Any], work: Work) -> None:
        super().__init__(call)
        self._work = work
        # Nobody may be there to hear that it failed.
        self.add_done_callback(lambda over: over.cancelled() or over.exception())

    def cancel(self, msg: Any | None = None) -> bool:
        """Refused while the request goes on."""
        return bool(self._work.cancelling()) and super().cancel(msg)


class OwnLoad:
    """Reads of what depends on the viewer, or has no BatchGet call: one by one, for the request alone."""

    __slots__ = ("_asked", "_find", "_missing", "_work")

    def __init__(self, find: Callable[[str], Awaitable[Message | None]], *missing: str, work: Work) -> None:
        """`missing` are the reasons that mean there is none for this viewer."""
        self._find = find
        self._missing = missing
        self._work = work
        self._asked: dict[str, OwnCall] = {}

    def load(self, key: str) -> Awaitable[Any]:
        """The message, or None."""
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = OwnCall(self._found(key), self._work)
        return asked

    async def _found(self, key: str) -> Message | None:
        try:
            return await self._find(key)
        except RemoteFailure as failure:
            if failure.reason not in self._missing:
                raise
            return None


class KeyOnly:
    """In place of a loader, where the objects are another subgraph's: gives the key, for a router to join."""

    def __init__(self, message: Callable[..., Message]) -> None:
        self._message = message

    async def load(self, wanted: str) -> Message:
        """A message that has its id and nothing else."""
        return self._message(id=wanted)


class Loaders:
    """One for each kind, made as they are needed."""

    def __init__(
        self, services: Services, public: Public, elsewhere: Mapping[str, KeyOnly], work: Work
    ) -> None:
        """`work`: the request's task; what it waits for ends with it."""
        self._services = services
        self._public = public
        self._work = work
        # These are found in place of the properties of the same names.
        vars(self).update(elsewhere)

    @cached_property
    def users(self) -> Load:
        """Users by id."""
        return Load(self._public.users, self._work)

    @cached_property
    def memes(self) -> Load:
        """Memes by id."""
        return Load(self._public.memes, self._work)

    @cached_property
    def titles(self) -> Load:
        """Titles by meme id."""
        return Load(self._public.titles, self._work)

    @cached_property
    def quotes(self) -> Load:
        """What the market knows, by meme id."""
        return Load(self._public.quotes, self._work)

    @cached_property
    def listings(self) -> Load:
        """Listings by id."""
        return Load(self._public.listings, self._work)

    @cached_property
    def offers(self) -> Load:
        """Offers by id."""
        return Load(self._public.offers, self._work)

    @cached_property
    def inscriptions(self) -> Load:
        """Titles on chain, by meme id."""
        return Load(self._public.inscriptions, self._work)

    @cached_property
    def records(self) -> Load:
        """Results on chain, by round id."""
        return Load(self._public.records, self._work)

    @cached_property
    def rounds(self) -> Load:
        """Rounds by id."""
        return Load(self._public.rounds, self._work)

    @cached_property
    def transactions(self) -> Load:
        """Transactions of ours by txid."""
        return Load(self._public.transactions, self._work)

    @cached_property
    def sales(self) -> OwnLoad:
        """Sales by id."""

        async def find(sale_id: str) -> market_pb2.Sale:
            request = market_service_pb2.GetSaleRequest(sale_id=sale_id)
            return (await self._services.market.GetSale(request)).sale

        return OwnLoad(find, "SALE_NOT_FOUND", work=self._work)

    @cached_property
    def withdrawals(self) -> OwnLoad:
        """The viewer's withdrawals by id."""

        async def find(withdrawal_id: str) -> chain_pb2.Withdrawal | None:
            if caller.current().user_id is None:
                return None
            request = chain_service_pb2.GetWithdrawalRequest(withdrawal_id=withdrawal_id)
            return (await self._services.chain.GetWithdrawal(request)).withdrawal

        return OwnLoad(find, "WITHDRAWAL_NOT_FOUND", "NOT_YOURS", work=self._work)

    @cached_property
    def viewings(self) -> OwnLoad:
        """The viewer's paid viewings by id."""

        async def find(session_id: str) -> ledger_pb2.Session | None:
            # The ledger lets a gateway that asks for nobody see them all.
            if caller.current().user_id is None:
                return None
            request = ledger_service_pb2.GetSessionRequest(session_id=session_id)
            return (await self._services.ledger.GetSession(request)).session

        return OwnLoad(find, "SESSION_NOT_FOUND", work=self._work)
