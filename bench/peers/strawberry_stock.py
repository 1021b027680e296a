"""A Strawberry view as its documentation sets it up: with its caches, plain resolvers and DataLoaders.

    python -m bench.peers.strawberry_stock SERVICES_ADDRESS

It prints a line of JSON when it serves, its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import enum
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NewType, Self

import grpc.aio
import strawberry
import uvloop
from aiohttp import web
from satreel.content.v1 import content_pb2
from satreel.content.v1 import content_service_pb2 as content
from satreel.identity.v1 import identity_pb2
from satreel.identity.v1 import identity_service_pb2 as identity
from satreel.ledger.v1 import ledger_service_pb2 as ledger
from satreel.market.v1 import market_service_pb2 as market
from satreel.rounds.v1 import rounds_pb2
from satreel.rounds.v1 import rounds_service_pb2 as rounds
from strawberry import relay
from strawberry.aiohttp.views import GraphQLView
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig

from graphql_gateway.services import Services
from mesh.interceptors.guards import CLAIMED_SERVICE_KEY, USER_TOKEN_KEY

TOKEN_CACHED_S = 3.0
Sats = NewType("Sats", int)
Long = NewType("Long", int)
SCALARS: dict[Any, Any] = {
    Sats: strawberry.scalar(name="Sats", serialize=int, parse_value=int),
    Long: strawberry.scalar(name="Long", serialize=int, parse_value=int),
    datetime: strawberry.scalar(
        name="DateTime",
        serialize=lambda at: at.isoformat().replace("+00:00", "Z"),
        parse_value=datetime.fromisoformat,
    ),
}


class Asked:
    """One request: who asks, and what it loads."""

    def __init__(self, services: Services, viewer: identity.AuthenticateResponse | None) -> None:
        self.services = services
        self.viewer = viewer
        told = [(CLAIMED_SERVICE_KEY, "gateway")]
        self.metadata = [*told, (USER_TOKEN_KEY, viewer.user_token)] if viewer else told

    @cached_property
    def users(self) -> DataLoader[str, Any]:
        """Users by id."""

        async def load(ids: list[str]) -> list[Any]:
            request = identity.BatchGetUsersRequest(user_ids=ids)
            answer = await self.services.identity.BatchGetUsers(request, metadata=self.metadata)
            return in_order(ids, {user.id: User.of(user) for user in answer.users})

        return DataLoader(load)

    @cached_property
    def memes(self) -> DataLoader[str, Any]:
        """Memes by id."""

        async def load(ids: list[str]) -> list[Any]:
            request = content.BatchGetMemesRequest(meme_ids=ids)
            answer = await self.services.content.BatchGetMemes(request, metadata=self.metadata)
            return in_order(ids, {meme.id: Meme.of(meme) for meme in answer.memes})

        return DataLoader(load)

    @cached_property
    def quotes(self) -> DataLoader[str, Any]:
        """Prices by meme id."""

        async def load(ids: list[str]) -> list[Any]:
            request = market.BatchGetQuotesRequest(meme_ids=ids)
            answer = await self.services.market.BatchGetQuotes(request, metadata=self.metadata)
            return in_order(ids, {quote.meme_id: Quote.of(quote) for quote in answer.quotes})

        return DataLoader(load)


Info = strawberry.Info[Asked, None]


def in_order(ids: list[str], found: dict[str, Any]) -> list[Any]:
    """What was found, as a DataLoader wants it."""
    return [found.get(wanted) for wanted in ids]


@strawberry.enum
class RoundState(enum.Enum):
    """States of a round."""

    PENDING = 1
    ACTIVE = 2
    CALCULATING = 3
    COMPLETED = 4
    VOIDED = 5


@strawberry.type
class User:
    """A person."""

    id: strawberry.ID
    display_name: str
    address: str

    @classmethod
    def of(cls, user: identity_pb2.User) -> Self:
        """As the schema shows it."""
        return cls(id=global_id("User", user.id), display_name=user.display_name, address=user.address)


@strawberry.type
class Listing:
    """An offer to sell."""

    id: strawberry.ID
    price_sats: Sats


@strawberry.type
class Quote:
    """What the market knows of a meme."""

    floor_price_sats: Sats
    sales: Long
    open_listing: Listing | None

    @classmethod
    def of(cls, quote: market.Quote) -> Self:
        """As the schema shows it."""
        listed = quote.open_listing if quote.HasField("open_listing") else None
        listing = (
            Listing(id=global_id("Listing", listed.id), price_sats=Sats(listed.price_sats))
            if listed
            else None
        )
        return cls(
            floor_price_sats=Sats(quote.floor_price_sats), sales=Long(quote.sales), open_listing=listing
        )


@strawberry.type
class Meme:
    """A meme."""

    bare_id: strawberry.Private[str]
    creator_id: strawberry.Private[str]
    id: strawberry.ID
    name: str
    poster_url: str | None

    @classmethod
    def of(cls, meme: content_pb2.Meme) -> Self:
        """As the schema shows it."""
        poster = f"/media/{meme.id}/poster" if meme.HasField("film") else None
        return cls(
            bare_id=meme.id,
            creator_id=meme.creator_id,
            id=global_id("Meme", meme.id),
            name=meme.name,
            poster_url=poster,
        )

    @strawberry.field
    async def creator(self, info: Info) -> User | None:
        """Who made it."""
        found: User | None = await info.context.users.load(self.creator_id)
        return found

    @strawberry.field
    async def quote(self, info: Info) -> Quote | None:
        """Its price."""
        found: Quote | None = await info.context.quotes.load(self.bare_id)
        return found


@strawberry.type
class Standing:
    """A line of the leaderboard."""

    meme_id: strawberry.Private[str]
    creator_id: strawberry.Private[str]
    rank: int
    score: Long
    paid_seconds: Long
    viewers: Long
    takings_sats: Sats

    @classmethod
    def of(cls, one: rounds_pb2.Standing) -> Self:
        """As the schema shows it."""
        return cls(
            meme_id=one.meme_id,
            creator_id=one.creator_id,
            rank=one.rank,
            score=Long(one.score),
            paid_seconds=Long(one.paid_seconds),
            viewers=Long(one.viewers),
            takings_sats=Sats(one.takings_sats),
        )

    @strawberry.field
    async def meme(self, info: Info) -> Meme | None:
        """The meme."""
        found: Meme | None = await info.context.memes.load(self.meme_id)
        return found

    @strawberry.field
    async def creator(self, info: Info) -> User | None:
        """Its creator."""
        found: User | None = await info.context.users.load(self.creator_id)
        return found


@strawberry.type
class Leaderboard:
    """Standings."""

    final: bool
    standings: list[Standing]


@strawberry.type
class Round:
    """A round."""

    bare_id: strawberry.Private[str]
    id: strawberry.ID
    number: Long
    state: RoundState
    takings_sats: Sats

    @strawberry.field
    async def leaderboard(self, info: Info, limit: int = 20) -> Leaderboard | None:
        """The best of it."""
        request = rounds.GetLeaderboardRequest(round_id=self.bare_id, limit=limit)
        answer = await info.context.services.rounds.GetLeaderboard(request, metadata=info.context.metadata)
        board = answer.leaderboard
        return Leaderboard(final=board.final, standings=[Standing.of(one) for one in board.standings])


@strawberry.type
class PageInfo:
    """Where a page lies."""

    has_next_page: bool


@strawberry.type
class MemeConnection:
    """A page of memes."""

    nodes: list[Meme]
    page_info: PageInfo


@strawberry.type
class Posting:
    """One movement of money."""

    sequence: Long
    amount: Sats
    memo: str
    debit_account: str
    credit_account: str
    posted_at: datetime


@strawberry.type
class PostingConnection:
    """A page of postings."""

    nodes: list[Posting]
    page_info: PageInfo


@strawberry.type
class Account:
    """What somebody has."""

    balance: Sats
    held: Sats
    available: Sats


@strawberry.type
class Me:
    """Who asks."""

    account_id: strawberry.Private[str]
    user: User

    @strawberry.field
    async def balance(self, info: Info) -> Account | None:
        """The spendable account."""
        request = ledger.GetAccountRequest(account_id=self.account_id)
        answer = await info.context.services.ledger.GetAccount(request, metadata=info.context.metadata)
        found = answer.account
        return Account(balance=Sats(found.balance), held=Sats(found.held), available=Sats(found.available))

    @strawberry.field
    async def statement(self, info: Info, first: int | None = None) -> PostingConnection | None:
        """Postings, the newest first."""
        request = ledger.ListPostingsRequest(account_id=self.account_id, page_size=first or 0)
        answer = await info.context.services.ledger.ListPostings(request, metadata=info.context.metadata)
        nodes = [
            Posting(
                sequence=Long(one.sequence),
                amount=Sats(one.amount),
                memo=one.memo,
                debit_account=one.debit_account,
                credit_account=one.credit_account,
                posted_at=one.posted_at.ToDatetime(UTC),
            )
            for one in answer.postings
        ]
        return PostingConnection(nodes=nodes, page_info=PageInfo(has_next_page=bool(answer.next_page_token)))


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry.field
    async def current_round(self, info: Info) -> Round | None:
        """The round that runs."""
        request = rounds.GetCurrentRoundRequest()
        answer = await info.context.services.rounds.GetCurrentRound(request, metadata=info.context.metadata)
        found = answer.round
        return Round(
            bare_id=found.id,
            id=global_id("Round", found.id),
            number=Long(found.number),
            state=RoundState(found.state),
            takings_sats=Sats(found.takings_sats),
        )

    @strawberry.field
    async def memes(self, info: Info, first: int | None = None) -> MemeConnection | None:
        """Published memes."""
        request = content.ListMemesRequest(state=content_pb2.MEME_STATE_PUBLISHED, page_size=first or 0)
        answer = await info.context.services.content.ListMemes(request, metadata=info.context.metadata)
        more = PageInfo(has_next_page=bool(answer.next_page_token))
        return MemeConnection(nodes=[Meme.of(meme) for meme in answer.memes], page_info=more)

    @strawberry.field
    async def me(self, info: Info) -> Me | None:
        """Who asks; null for strangers."""
        viewer = info.context.viewer
        return Me(account_id=f"user:{viewer.user.id}", user=User.of(viewer.user)) if viewer else None


@strawberry.type
class Mutation:
    """What can be done."""

    @strawberry.mutation
    async def set_display_name(self, info: Info, display_name: str) -> User | None:
        """Sets the name of who asks."""
        request = identity.SetDisplayNameRequest(display_name=display_name)
        answer = await info.context.services.identity.SetDisplayName(request, metadata=info.context.metadata)
        return User.of(answer.user)


def global_id(type_name: str, bare: str) -> strawberry.ID:
    """Relay's."""
    return strawberry.ID(relay.to_base64(type_name, bare))


class View(GraphQLView[Asked, None]):
    """Knows who asks, as the gateway does: a checked token is trusted for three seconds."""

    def __init__(self, services: Services) -> None:
        caches: list[Callable[[], Any]] = [ParserCache, ValidationCache]
        config = StrawberryConfig(scalar_map=SCALARS)
        super().__init__(strawberry.Schema(Query, Mutation, config=config, extensions=caches))
        self._services = services
        self._viewers: dict[str, tuple[float, identity.AuthenticateResponse]] = {}

    async def get_context(self, request: web.Request, response: Any) -> Asked:  # noqa: ARG002 - Strawberry passes it
        """Of one request."""
        return Asked(self._services, await self._viewer(request.headers.get("Authorization", "")))

    async def _viewer(self, header: str) -> identity.AuthenticateResponse | None:
        if not header:
            return None
        until, viewer = self._viewers.get(header, (0.0, None))
        if viewer is None or until < time.monotonic():
            request = identity.AuthenticateRequest(access_token=header.removeprefix("Bearer "))
            told = [(CLAIMED_SERVICE_KEY, "gateway")]
            viewer = await self._services.identity.Authenticate(request, metadata=told)
            self._viewers[header] = (time.monotonic() + TOKEN_CACHED_S, viewer)
        return viewer


async def main(address: str) -> None:
    """Serves until its standard input ends."""
    services = Services.over(lambda _: grpc.aio.insecure_channel(address))
    app = web.Application()
    app.router.add_route("*", "/graphql", View(services))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
