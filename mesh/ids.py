"""Ids are UUIDv7 texts in lower case: whoever creates a thing makes its id; ids sort by time."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from uuid import UUID

_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_RANDOM_BITS = 74


def uuid7(now_ns: int | None = None, random_bits: int | None = None) -> str:
    """A new id (RFC 9562, version 7): 48 bits of milliseconds, 74 random bits.

    Tests and replays give both arguments; everyone else gives none.
    """
    milliseconds = (time.time_ns() if now_ns is None else now_ns) // 1_000_000
    noise = secrets.randbits(_RANDOM_BITS) if random_bits is None else random_bits
    high, low = noise >> 62 & 0xFFF, noise & (1 << 62) - 1
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


def derived_id(at_ns: int, name: str) -> str:
    """An id that follows from a time and a name (RFC 9562, version 8): 48 bits of time, 74 of a SHA-256.

    It sorts among the others by its time, and because of its version nobody can take it by choosing a uuid7.
    """
    noise = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 256 - _RANDOM_BITS
    high, low = noise >> 62 & 0xFFF, noise & (1 << 62) - 1
    return str(UUID(int=at_ns // 1_000_000 << 80 | 0x8 << 76 | high << 64 | 0b10 << 62 | low))


def made_ns(id_: str) -> int:
    """When an id of version 7 or 8 was made, in nanoseconds since 1970, to the millisecond."""
    return int(id_[:8] + id_[9:13], 16) * 1_000_000


def is_uuid7(text: str) -> bool:
    """Whether the text is an id as `uuid7` makes them."""
    return _PATTERN.fullmatch(text) is not None
