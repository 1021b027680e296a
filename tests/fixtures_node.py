"""A real BSV node for tests: one process for the whole run, one client for each test.

In a conftest.py: `from tests.fixtures_node import bsv_node, node_rpc, regtest`.
The chain is shared: a test must not count on a height, and mines what it needs itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.node import BsvNode, NodePorts, running_node
from sandbox.process import free_port
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bsv_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BsvNode]:
    """The running node. Its own `rpc` belongs to the session's loop: tests use `node_rpc`."""
    ports = NodePorts(rpc=free_port(), zmq=free_port())
    async with running_node(tmp_path_factory.mktemp("bsv-node"), ports) as node:
        yield node


@pytest_asyncio.fixture
async def node_rpc(bsv_node: BsvNode) -> AsyncIterator[NodeRpc]:
    """A client of the node in the test's own loop."""
    async with NodeRpc(bsv_node.url) as rpc:
        yield rpc


@pytest_asyncio.fixture
async def regtest(node_rpc: NodeRpc) -> Regtest:
    """The controls of the chain, and the faucet."""
    return Regtest(node_rpc)
