"""Ids are UUIDv7 texts in lower case: whoever creates a thing makes its id; ids sort by time.

Those of one process sort in the order in which they were made, unless its clock is set back; those of several
only to the millisecond.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from uuid import UUID

_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_RANDOM_BITS = 74
# How far apart ids of one millisecond are at most: nobody guesses the next one.
_STEP_BITS = 48


def uuid7(now_ns: int | None = None, random_bits: int | None = None) -> str:
    """A new id (RFC 9562, version 7): 48 bits of milliseconds, 74 random bits.

    It is above all that this process made in the same millisecond, unless its random bits are given: then it
    is the same each time.
    """
    milliseconds = (time.time_ns() if now_ns is None else now_ns) // 1_000_000
    noise = _rising.noise(milliseconds) if random_bits is None else random_bits
    high, low = noise >> 62 & 0xFFF, noise & (1 << 62) - 1
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


class _Rising:
    """Random bits, each above the last of the same millisecond (RFC 9562, 6.2, method 2)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._milliseconds = -1
        self._noise = 0

    def noise(self, milliseconds: int) -> int:
        with self._lock:
            if milliseconds == self._milliseconds:
                self._noise += 1 + secrets.randbits(_STEP_BITS)
            else:
                # The highest bit stays free for those that follow.
                self._milliseconds, self._noise = milliseconds, secrets.randbits(_RANDOM_BITS - 1)
            return self._noise


_rising = _Rising()


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
