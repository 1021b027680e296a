"""How the sections of an image lie in bytes: columns, lines, pieces of equal size, rows."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping
from struct import Struct
from typing import Any

import orjson

# Pieces of equal size are cut so many at a time.
CUT = 1_000


def set_all(target: object, fields: Mapping[str, Any]) -> None:
    """Sets these attributes."""
    for name, value in fields.items():
        setattr(target, name, value)


def json_of(rows: object) -> bytes:
    """Rows of which there are few."""
    return orjson.dumps(rows)


def lines_of(text: bytes) -> list[str]:
    """Names or ids, one a line."""
    return text.decode().split("\n") if text else []


def cut(packed: bytes, size: int) -> list[bytes]:
    """Pieces of this size."""
    many, whole = Struct(f"{size}s" * CUT), len(packed) - len(packed) % (size * CUT)
    pieces: list[bytes] = []
    for group in many.iter_unpack(memoryview(packed)[:whole]):
        pieces += group
    pieces += (packed[at : at + size] for at in range(whole, len(packed), size))
    return pieces


def column_of(numbers: array[int]) -> bytes:
    """64-bit integers, least byte first."""
    return _little_endian(array("q", numbers)).tobytes()


def load_column(packed: bytes) -> array[int]:
    """What `column_of` made bytes of."""
    return _little_endian(array("q", packed))


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
