"""Queries on the chain and the books."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.chain.v1 import chain_service_pb2
from satreel.ledger.v1 import ledger_service_pb2

from graphql_gateway.arguments import about
from graphql_gateway.chain.types import Block, Books, ChainTransaction, Custody, LedgerTotals, TitleAudit
from graphql_gateway.context import Info
from graphql_gateway.proto import shown


@strawberry.type
class ChainQuery:
    """What is asked about the chain."""

    @strawberry.field(description="The best block known.")
    async def tip(self, info: Info) -> Block:
        """The tip."""
        response = await info.context.services.chain.GetTip(chain_service_pb2.GetTipRequest())
        return shown(Block, response.block)

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
