"""The shared node, for the tests of this folder."""

from tests.fixtures_node import bsv_node, node_rpc, regtest

__all__ = ["bsv_node", "node_rpc", "regtest"]
