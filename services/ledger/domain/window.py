"""The window of time for ids: an id carries the time at which it was made, and an old one is taken no more.

Ids are UUIDs of version 7 or 8: their first 48 bits are milliseconds (RFC 9562), so that as texts they sort
by time. What has an id is remembered until its id has left the window; from then on the id is refused. So an
id is answered once, with bounded memory: behind the watermark nothing is remembered, and nothing done.
"""

from __future__ import annotations

NS_PER_MS = 1_000_000
NS_PER_DAY = 86_400 * 10**9
HORIZON_DAYS = 30
# Clocks of callers, and of theirs, may be so far ahead: 26 hours.
AHEAD_NS = 26 * 3_600 * 10**9
# Ids are remembered and forgotten by spans of 2^24 ms, 4.7 hours: the first six digits.
SPAN_DIGITS = 6


class Window:
    """From the watermark to a little ahead of now. Both ends are texts, compared with ids as they are."""

    def __init__(self) -> None:
        self.horizon_ns = HORIZON_DAYS * NS_PER_DAY
        self.low = "0" * SPAN_DIGITS
        self.high = ""

    def move(self, now_ns: int) -> bool:
        """Goes on to this time; whether the watermark moved. It never goes back."""
        self.high = _digits(now_ns + AHEAD_NS)
        low = _digits(max(0, now_ns - self.horizon_ns))[:SPAN_DIGITS]
        if low <= self.low:
            return False
        self.low = low
        return True

    def has(self, id_: str) -> bool:
        """Whether the id is neither older than the horizon nor from the future."""
        return self.low <= id_ < self.high


def _digits(at_ns: int) -> str:
    """The first digits of an id made at this time."""
    digits = f"{at_ns // NS_PER_MS:012x}"
    return f"{digits[:8]}-{digits[8:]}"
