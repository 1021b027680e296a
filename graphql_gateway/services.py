"""The mesh as the gateway sees it: one typed stub per service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import grpc.aio
from satreel.chain.v1.chain_service_pb2_grpc import ChainServiceStub
from satreel.content.v1.content_service_pb2_grpc import ContentServiceStub
from satreel.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from satreel.insight.v1.insight_service_pb2_grpc import InsightServiceStub
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub
from satreel.market.v1.market_service_pb2_grpc import MarketServiceStub
from satreel.rounds.v1.rounds_service_pb2_grpc import RoundsServiceStub


@dataclass(frozen=True, slots=True)
class Services:
    """Stubs of all services."""

    identity: IdentityServiceStub
    content: ContentServiceStub
    rounds: RoundsServiceStub
    ledger: LedgerServiceStub
    market: MarketServiceStub
    chain: ChainServiceStub
    insight: InsightServiceStub

    @classmethod
    def over(cls, channel: Callable[[str], grpc.aio.Channel]) -> Services:
        """Stubs over the channels that `channel(service name)` gives."""
        return cls(
            identity=IdentityServiceStub(channel("identity")),
            content=ContentServiceStub(channel("content")),
            rounds=RoundsServiceStub(channel("rounds")),
            ledger=LedgerServiceStub(channel("ledger")),
            market=MarketServiceStub(channel("market")),
            chain=ChainServiceStub(channel("chain")),
            insight=InsightServiceStub(channel("insight")),
        )
