"""Merkle trees as Certificate Transparency has them (RFC 6962, section 2.1): SHA-256, leaves and nodes apart.

A leaf is hashed behind a byte 0, a node behind a byte 1, so that no node passes for a leaf; a tree is split
at the largest power of two below its size, so that nothing is ever doubled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The tree's hash; that of no bytes at all for no leaves."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return _leaf(leaves[0])
    middle = _middle(len(leaves))
    return _node(root_of(leaves[:middle]), root_of(leaves[middle:]))


def audit_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from a leaf to the root, the leaf's neighbour first."""
    if len(leaves) <= 1:
        return []
    middle = _middle(len(leaves))
    if index < middle:
        return [*audit_path(leaves[:middle], index), root_of(leaves[middle:])]
    return [*audit_path(leaves[middle:], index - middle), root_of(leaves[:middle])]


def root_along(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Where the path leads from leaf number `index` of `size`; None when no tree has such a path."""
    if not 0 <= index < size:
        return None
    if size == 1:
        return None if path else _leaf(leaf)
    if not path:
        return None
    middle, beside = _middle(size), path[-1]
    if index < middle:
        left = root_along(leaf, index, middle, path[:-1])
        return None if left is None else _node(left, beside)
    right = root_along(leaf, index - middle, size - middle, path[:-1])
    return None if right is None else _node(beside, right)


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _middle(size: int) -> int:
    """The largest power of two below the number of leaves."""
    return 1 << (size - 1).bit_length() - 1
