"""The mesh as the gateway sees it: one typed stub per service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc.aio
from satreel.chain.v1.chain_service_pb2_grpc import ChainServiceStub
from satreel.content.v1.content_service_pb2_grpc import ContentServiceStub
from satreel.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from satreel.insight.v1.insight_service_pb2_grpc import InsightServiceStub
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub
from satreel.market.v1.market_service_pb2_grpc import MarketServiceStub
from satreel.rounds.v1.rounds_service_pb2_grpc import RoundsServiceStub

from mesh import contracts
from mesh.flights import SingleFlight


class _SharedReads:
    """A channel whose calls without side effects are made once for all who ask the same at one time."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def unary_unary(self, method: str, *codec: Any, **options: Any) -> Any:
        """A callable for one method, as the generated stubs ask for it."""
        call: Any = self._channel.unary_unary(method, *codec, **options)
        contract = contracts.method(method)
        return SingleFlight(call, timeout_s=contract.timeout_s) if contract.reads else call


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

    @classmethod
    def sharing_reads(cls, channel: Callable[[str], grpc.aio.Channel]) -> Services:
        """The same; what they read is shared by requests, so nobody may change a response."""
        return cls.over(lambda peer: cast("grpc.aio.Channel", _SharedReads(channel(peer))))
