"""Ids and instants of content."""

from __future__ import annotations

from typing import NewType

MemeId = NewType("MemeId", str)
UserId = NewType("UserId", str)
# Hex, of a whole file: also where the file is kept.
Sha256 = NewType("Sha256", str)
# Nanoseconds since 1970 UTC.
InstantNs = NewType("InstantNs", int)

# Before everything that happens here.
NEVER = InstantNs(0)

PPM = 1_000_000
NS_PER_S = 1_000_000_000


def later(instant: InstantNs, seconds: float) -> InstantNs:
    """The instant so many seconds after."""
    return InstantNs(instant + round(seconds * NS_PER_S))
