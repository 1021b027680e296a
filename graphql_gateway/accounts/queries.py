"""Queries on people and on the viewer's own affairs."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.chain.v1 import chain_service_pb2
from satreel.identity.v1 import identity_pb2, identity_service_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from graphql_gateway.accounts.types import Account, LogInSession, Posting, User, Viewing
from graphql_gateway.arguments import After, First, about
from graphql_gateway.chain.types import Deposit, Withdrawal
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.ids import bare_id
from graphql_gateway.proto import shown, shown_all
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


@strawberry.type(description="Where the viewer pays in.")
class DepositAddress:
    """An address of the viewer's own."""

    address: str = strawberry.field(description="P2PKH address of the network in use.")
    confirmations_needed: int = strawberry.field(description="Confirmations until a deposit can be spent.")


@strawberry.type(description="The signed-in user, with what only they may see.")
class Me:
    """The viewer."""

    user_message: strawberry.Private[identity_pb2.User]

    @strawberry.field(description="As others see them.")
    def user(self) -> User:
        """The public side."""
        return shown(User, self.user_message)

    @strawberry.field(description="What the viewer has in satoshis.")
    async def balance(self, info: Info) -> Account:
        """The spendable account; all zero before the first deposit."""
        return shown(Account, await find_balance(info.context.services, f"user:{self.user_message.id}"))

    @strawberry.field(description="Where the viewer pays in; always the same address.")
    async def deposit_address(self, info: Info) -> DepositAddress:
        """An address of their own."""
        response = await info.context.services.chain.GetDepositAddress(
            chain_service_pb2.GetDepositAddressRequest()
        )
        return DepositAddress(address=response.address, confirmations_needed=response.confirmations_needed)

    @strawberry.field(description="The viewer's account statement, the newest posting first.")
    async def statement(self, info: Info, first: First = None, after: After = None) -> Connection[Posting]:
        """Postings of the spendable account."""

        async def fetch(size: int, token: str) -> Page:
            request = ledger_service_pb2.ListPostingsRequest(
                account_id=f"user:{self.user_message.id}", page_size=size, page_token=token
            )
            response = await info.context.services.ledger.ListPostings(request)
            return Page(response.postings, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(description="The viewer's deposits, the newest first.")
    async def deposits(self, info: Info, first: First = None, after: After = None) -> Connection[Deposit]:
        """Coins paid in."""

        async def fetch(size: int, token: str) -> Page:
            request = chain_service_pb2.ListDepositsRequest(page_size=size, page_token=token)
            response = await info.context.services.chain.ListDeposits(request)
            return Page(response.deposits, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(description="The viewer's withdrawals, the newest first.")
    async def withdrawals(
        self, info: Info, first: First = None, after: After = None
    ) -> Connection[Withdrawal]:
        """Coins paid out."""

        async def fetch(size: int, token: str) -> Page:
            request = chain_service_pb2.ListWithdrawalsRequest(page_size=size, page_token=token)
            response = await info.context.services.chain.ListWithdrawals(request)
            return Page(response.withdrawals, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(description="One withdrawal of the viewer.")
    async def withdrawal(self, info: Info, id: Annotated[strawberry.ID, about("Its id.")]) -> Withdrawal:
        """By global id or UUID."""
        request = chain_service_pb2.GetWithdrawalRequest(withdrawal_id=bare_id("Withdrawal", id))
        return shown(Withdrawal, (await info.context.services.chain.GetWithdrawal(request)).withdrawal)

    @strawberry.field(description="The viewer's paid viewings, the newest first.")
    async def viewings(self, info: Info, first: First = None, after: After = None) -> Connection[Viewing]:
        """Sessions in the ledger."""

        async def fetch(size: int, token: str) -> Page:
            request = ledger_service_pb2.ListSessionsRequest(page_size=size, page_token=token)
            response = await info.context.services.ledger.ListSessions(request)
            return Page(response.sessions, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(description="Where the viewer is logged in.")
    async def log_ins(self, info: Info) -> list[LogInSession]:
        """Open sessions, at most 100."""
        response = await info.context.services.identity.ListSessions(
            identity_service_pb2.ListSessionsRequest()
        )
        return shown_all(LogInSession, response.sessions)


@strawberry.type
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
