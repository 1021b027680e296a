"""Queries on the chain and the books."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.chain.v1 import chain_service_pb2
from satreel.ledger.v1 import ledger_service_pb2

from graphql_gateway.arguments import After, First, about
from graphql_gateway.chain.types import (
    Block,
    Books,
    ChainTip,
    ChainTransaction,
    Custody,
    Deposit,
    LedgerTotals,
    TitleAudit,
    Withdrawal,
)
from graphql_gateway.composition import part_of
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.entities import Me, Query
from graphql_gateway.ids import bare_id
from graphql_gateway.proto import shown
from graphql_gateway.safety.access import SIGNED_IN
from graphql_gateway.safety.declared import PAGE, PUBLIC, SAME_FOR_ALL


@strawberry.type(description="Where the viewer pays in.")
class DepositAddress:
    """An address of the viewer's own."""

    address: str = strawberry.field(description="P2PKH address of the network in use.")
    confirmations_needed: int = strawberry.field(description="Confirmations until a deposit can be spent.")


@part_of(Me)
class MyCoins:
    """What the chain knows of the viewer."""

    @strawberry.field(description="Where the viewer pays in; always the same address.", directives=SIGNED_IN)
    async def deposit_address(self, info: Info) -> DepositAddress:
        """An address of their own."""
        response = await info.context.services.chain.GetDepositAddress(
            chain_service_pb2.GetDepositAddressRequest()
        )
        return DepositAddress(address=response.address, confirmations_needed=response.confirmations_needed)

    @strawberry.field(description="The viewer's deposits, the newest first.", directives=(*PAGE, *SIGNED_IN))
    async def deposits(self, info: Info, first: First = None, after: After = None) -> Connection[Deposit]:
        """Coins paid in."""

        async def fetch(size: int, token: str) -> Page:
            request = chain_service_pb2.ListDepositsRequest(page_size=size, page_token=token)
            response = await info.context.services.chain.ListDeposits(request)
            return Page(response.deposits, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(
        description="The viewer's withdrawals, the newest first.", directives=(*PAGE, *SIGNED_IN)
    )
    async def withdrawals(
        self, info: Info, first: First = None, after: After = None
    ) -> Connection[Withdrawal]:
        """Coins paid out."""

        async def fetch(size: int, token: str) -> Page:
            request = chain_service_pb2.ListWithdrawalsRequest(page_size=size, page_token=token)
            response = await info.context.services.chain.ListWithdrawals(request)
            return Page(response.withdrawals, response.next_page_token)

        return await connect(fetch, first=first, after=after)

    @strawberry.field(description="One withdrawal of the viewer.", directives=SIGNED_IN)
    async def withdrawal(self, info: Info, id: Annotated[strawberry.ID, about("Its id.")]) -> Withdrawal:
        """By global id or UUID."""
        request = chain_service_pb2.GetWithdrawalRequest(withdrawal_id=bare_id("Withdrawal", id))
        return shown(Withdrawal, (await info.context.services.chain.GetWithdrawal(request)).withdrawal)


@part_of(Query)
class ChainQuery:
    """What is asked about the chain."""

    @strawberry.field(description="The best block known.", directives=PUBLIC, metadata=SAME_FOR_ALL)
    async def tip(self, info: Info) -> Block:
        """The tip."""
        response = await info.context.services.chain.GetTip(chain_service_pb2.GetTipRequest())
        return shown(Block, response.block)

    @strawberry.field(
        description="The best block known, when a source last confirmed it, and another with as much work.",
        directives=PUBLIC,
        metadata=SAME_FOR_ALL,
    )
    async def chain_tip(self, info: Info) -> ChainTip:
        """The tip, and how sure it is."""
        response = await info.context.services.chain.GetTip(chain_service_pb2.GetTipRequest())
        return shown(ChainTip, response)

    @strawberry.field(description="A transaction that the mesh made; null when it is not one of ours.")
    async def transaction(
        self, info: Info, txid: Annotated[str, about("Its hash, hex as explorers show it.")]
    ) -> ChainTransaction | None:
        """By its hash."""
        return await info.context.loaders.transactions.load(txid)

    @strawberry.field(description="The books, open to all: what the ledger owes and the coins that are held.")
    async def books(self, info: Info) -> Books:
        """Ledger against chain."""
        services = info.context.services
        totals = await services.ledger.GetTotals(ledger_service_pb2.GetTotalsRequest())
        custody = await services.chain.GetCustody(chain_service_pb2.GetCustodyRequest())
        return Books(totals=shown(LedgerTotals, totals), custody=shown(Custody, custody))

    @strawberry.field(
        description="Titles on which the ledger's owner and the chain's differ for longer than a move takes."
    )
    async def title_audit(self, info: Info) -> TitleAudit:
        """Ledger against chain, title by title."""
        response = await info.context.services.chain.GetTitleAudit(chain_service_pb2.GetTitleAuditRequest())
        return shown(TitleAudit, response)
