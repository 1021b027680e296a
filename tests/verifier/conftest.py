"""The shared node, and a chain service over it."""

from __future__ import annotations

from tests.chain.conftest import node, outside
from tests.chain.test_real_node import rig
from tests.fixtures_node import bsv_node, node_rpc, regtest

__all__ = ["bsv_node", "node", "node_rpc", "outside", "regtest", "rig"]
