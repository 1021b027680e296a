"""The shared node, and a chain service over it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sandbox.node import BsvNode
from services.chain.adapters.node import RpcNode, open_node
from tests.chain.outside import Outside, opened_outside
from tests.chain.world import Rig, open_rig, opened_store
from tests.fixtures_node import bsv_node, node_rpc, regtest

__all__ = ["bsv_node", "node_rpc", "regtest"]


@pytest_asyncio.fixture
async def node(bsv_node: BsvNode) -> AsyncIterator[RpcNode]:
    async with open_node(bsv_node.url, 10.0) as opened:
        yield opened


@pytest_asyncio.fixture
async def rig(node: RpcNode, tmp_path: Path) -> AsyncIterator[Rig]:
    """Its keys are its own, because the chain is shared."""
    async with opened_store(tmp_path / "chain.sqlite") as store:
        yield await open_rig(store, node, seed=secrets.token_bytes(64))


@pytest_asyncio.fixture
async def outside(bsv_node: BsvNode) -> AsyncIterator[Outside]:
    async with opened_outside(bsv_node) as opened:
        yield opened
