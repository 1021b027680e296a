"""The shared node, a node in memory, and a chain service over that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.records import Store
from sandbox.node import BsvNode
from services.chain.adapters.node import RpcNode, open_node
from services.chain.app.parts import Rules
from tests.chain.chainsim import SimNode
from tests.chain.outside import Outside, opened_outside
from tests.chain.world import RULES, Rig, open_rig, opened_store
from tests.fixtures_node import bsv_node, node_rpc, regtest

__all__ = ["bsv_node", "node_rpc", "regtest"]


@pytest_asyncio.fixture
async def node(bsv_node: BsvNode) -> AsyncIterator[RpcNode]:
    async with open_node(bsv_node.url, 60.0) as opened:
        yield opened


@pytest.fixture
def sim() -> SimNode:
    return SimNode()


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened_store(tmp_path / "chain.sqlite") as opened:
        yield opened


@pytest.fixture
def rules() -> Rules:
    return RULES


@pytest_asyncio.fixture
async def rig(sim: SimNode, store: Store, rules: Rules) -> Rig:
    """A chain service over a node in memory."""
    return await open_rig(store, sim, rules=rules)


@pytest_asyncio.fixture
async def balanced(rig: Rig) -> AsyncIterator[None]:
    """Whatever a test did, at its end the coins are what the ledger owes."""
    yield
    await rig.balanced()


@pytest_asyncio.fixture
async def outside(bsv_node: BsvNode) -> AsyncIterator[Outside]:
    async with opened_outside(bsv_node) as opened:
        yield opened
