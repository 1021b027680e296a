"""Queries on people and on the viewer's own affairs."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.identity.v1 import identity_service_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from graphql_gateway.accounts.types import Account, LogInSession, Posting, Viewing
from graphql_gateway.arguments import After, First, about
from graphql_gateway.composition import part_of
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.entities import Me, Query, User
from graphql_gateway.ids import bare_id
from graphql_gateway.proto import shown, shown_all
from graphql_gateway.safety.access import SIGNED_IN
from graphql_gateway.safety.declared import CALL, PAGE, at_most
from graphql_gateway.services import Services
from mesh.errors import RemoteFailure


async def find_balance(services: Services, account_id: str) -> ledger_pb2.Account:
    """A user's account; all zero before the first deposit."""
    try:
        request = ledger_service_pb2.GetAccountRequest(account_id=account_id)
        return (await services.ledger.GetAccount(request)).account
    except RemoteFailure as failure:
        if failure.reason == "ACCOUNT_NOT_FOUND":
            return ledger_pb2.Account(id=account_id, asset="sat")
        raise


@part_of(Me)
class MyAccounts:
    """What identity and ledger know of the viewer."""

    @strawberry.field(description="What the viewer has in satoshis.", directives=SIGNED_IN)
    async def balance(self: Me, info: Info) -> Account:
        """The spendable account; all zero before the first deposit."""
        return shown(Account, await find_balance(info.context.services, f"user:{self.user_message.id}"))

    @strawberry.field(
        description="The viewer's account statement, the newest posting first.",
        directives=(*PAGE, *SIGNED_IN),
    )
    async def statement(
        self: Me, info: Info, first: First = None, after: After = None
    ) -> Connection[Posting]:
        """Postings of the spendable account."""

        async def fetch(size: int, token: str) -> Page:
            request = ledger_service_pb2.ListPostingsRequest(
                account_id=f"user:{self.user_message.id}", page_size=size, page_token=token
            )
            response = await info.context.services.ledger.ListPostings(request)
            return Page(response.postings, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(
        description="The viewer's paid viewings, the newest first.", directives=(*PAGE, *SIGNED_IN)
    )
    async def viewings(self, info: Info, first: First = None, after: After = None) -> Connection[Viewing]:
        """Sessions in the ledger."""

        async def fetch(size: int, token: str) -> Page:
            request = ledger_service_pb2.ListSessionsRequest(page_size=size, page_token=token)
            response = await info.context.services.ledger.ListSessions(request)
            return Page(response.sessions, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(
        description="Where the viewer is logged in.", directives=(*CALL, *at_most(100), *SIGNED_IN)
    )
    async def log_ins(self, info: Info) -> list[LogInSession]:
        """Open sessions, at most 100."""
        response = await info.context.services.identity.ListSessions(
            identity_service_pb2.ListSessionsRequest()
        )
        return shown_all(LogInSession, response.sessions)


@part_of(Query)
class AccountsQuery:
    """What is asked about people."""

    @strawberry.field(description="The signed-in user; null when nobody is.")
    async def me(self, info: Info) -> Me | None:
        """The viewer."""
        viewer = info.context.viewer
        return None if viewer is None else Me(user_message=viewer.user)

    @strawberry.field(description="A user; null when there is none with this id.")
    async def user(
        self, info: Info, id: Annotated[strawberry.ID, about("Their global id or UUID.")]
    ) -> User | None:
        """By global id or UUID."""
        return await info.context.loaders.users.load(bare_id("User", id))
