"""The shared node and the stand-ins over it, for the tests of this folder."""

from tests.fixtures_explorers import house, receiver, wallet
from tests.fixtures_node import bsv_node, node_rpc, regtest

__all__ = ["bsv_node", "house", "node_rpc", "receiver", "regtest", "wallet"]
