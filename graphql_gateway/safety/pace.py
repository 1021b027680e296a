"""How fast somebody may go on: a bucket that refills."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """`per_s` steps a second, twice as many at once after a pause."""

    __slots__ = ("_at_s", "_left", "_most", "_now_s", "_per_s")

    def __init__(self, per_s: float, now_s: Callable[[], float]) -> None:
        self._per_s = per_s
        self._most = self._left = 2.0 * per_s
        self._now_s = now_s
        self._at_s = now_s()

    def allows_step(self) -> bool:
        """Takes a step, if that is not too soon."""
        now_s = self._now_s()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
