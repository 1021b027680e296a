"""Raw blocks: walked through fast, with as little made of each transaction as looking for ours takes.

A block may have hundreds of thousands of transactions, of which hardly any concerns us: an outline is cheap,
and `wire.parse_transaction` takes apart those that do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from services.chain.domain.wire import HEADER_BYTES, BadBytes

_OUTPOINT_BYTES, _SEQUENCE_BYTES, _SATS_BYTES = 36, 4, 8
_VERSION_BYTES = _LOCK_TIME_BYTES = 4
_LONG = {0xFD: struct.Struct("<H"), 0xFE: struct.Struct("<I"), 0xFF: struct.Struct("<Q")}
_SHORT_MAX = 0xFC


class Outline(NamedTuple):
    """A transaction's bytes, the outpoints that it spends (36 bytes each) and the scripts that it pays.

    A named tuple, because there is one for each transaction of a block.
    """

    raw: bytes
    points: list[bytes]
    scripts: list[bytes]


def outlines(block: bytes) -> Iterator[Outline]:
    """The transactions of a raw block, in order; a memory map does as well as bytes. Raises BadBytes."""
    try:
        count, at = _varint(block, HEADER_BYTES)
        for _ in range(count):
            found, at = _outline(block, at)
            yield found
    except (IndexError, struct.error) as problem:
        raise BadBytes("the bytes end too early") from problem
    if at != len(block):
        raise BadBytes("bytes are left over behind the block")


def _outline(block: bytes, begin: int) -> tuple[Outline, int]:
    """The transaction that begins there, and where it ends. Raises BadBytes, IndexError, struct.error.

    Numbers of one byte are read in place: almost all are, and calls are most of what this costs.
    """
    points, scripts = [], []
    count, at = _varint(block, begin + _VERSION_BYTES)
    for _ in range(count):
        size = block[at + _OUTPOINT_BYTES]
        points.append(block[at : at + _OUTPOINT_BYTES])
        at += _OUTPOINT_BYTES + 1
        if size > _SHORT_MAX:
            size, at = _varint(block, at - 1)
        at += size + _SEQUENCE_BYTES
    count, at = _varint(block, at)
    for _ in range(count):
        size = block[at + _SATS_BYTES]
        at += _SATS_BYTES + 1
        if size > _SHORT_MAX:
            size, at = _varint(block, at - 1)
        scripts.append(block[at : at + size])
        at += size
    at += _LOCK_TIME_BYTES
    if at > len(block):
        raise BadBytes("the bytes end too early")
    return Outline(block[begin:at], points, scripts), at


def _varint(block: bytes, at: int) -> tuple[int, int]:
    """The variable-length integer that begins there, and where it ends."""
    first = block[at]
    if first <= _SHORT_MAX:
        return first, at + 1
    layout = _LONG[first]
    return layout.unpack_from(block, at + 1)[0], at + 1 + layout.size
