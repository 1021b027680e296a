"""A market behind a real server, which calls a ledger and a chain behind theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc
from satreel.market.v1 import market_service_pb2_grpc

from mesh.clock import ManualClock
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.testing import serving
from services.market.adapters.peers import GrpcChain, GrpcLedger
from services.market.rpc.news import FeedNews
from services.market.rpc.servicer import MarketServicer
from tests.market.rpc.channels import ChainServicer, LedgerServicer, Market
from tests.market.world import World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Ids of these tests are made now: so is the world."""
    async with open_world(tmp_path, ManualClock(datetime.now(UTC))) as world:
        yield world


@pytest.fixture
async def market(world: World, valkey_url: str) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        feed = await stack.enter_async_context(open_feed(valkey_url, f"market-{uuid7()}"))
        # The generated servicers are abstract to the type checker; only what the market calls is here.
        ledger, chain = LedgerServicer(world.ledger), ChainServicer()  # type: ignore[abstract]
        ledger_server = await stack.enter_async_context(
            serving(
                "ledger",
                ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server,
                ledger,
                user_token_key=None,
            )
        )
        chain_server = await stack.enter_async_context(
            serving(
                "chain", chain_service_pb2_grpc.add_ChainServiceServicer_to_server, chain, user_token_key=None
            )
        )
        world.ledger_port = GrpcLedger(
            ledger_service_pb2_grpc.LedgerServiceStub(ledger_server.channel("market"))
        )
        world.chain_port = GrpcChain(chain_service_pb2_grpc.ChainServiceStub(chain_server.channel("market")))
        world.news_port = FeedNews(feed, world.clock, uuid7)
        world.start()
        servicer = MarketServicer(world.one, feed)
        adder = market_service_pb2_grpc.add_MarketServiceServicer_to_server
        server = await stack.enter_async_context(serving("market", adder, servicer, clock=world.clock))
        stub = market_service_pb2_grpc.MarketServiceStub(server.channel("gateway"))
        yield Market(stub, server, world, ledger, chain)
