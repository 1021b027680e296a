"""Growing pauses between attempts at the same thing."""

from __future__ import annotations

from mesh.clock import Clock

FIRST_S, MOST_S = 5.0, 600.0
KEPT_MAX = 10_000


class Pauses:
    """After an attempt at `key` that did not work: 5 s, twice as long each time, at most ten minutes.

    It forgets the oldest of more than KEPT_MAX.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, float]] = {}

    def over(self, key: str) -> bool:
        """Whether it may be tried."""
        until_s, _ = self._until.get(key, (0.0, 0.0))
        return self._clock.monotonic_s() >= until_s

    def begin(self, key: str) -> None:
        """It did not work."""
        _, before_s = self._until.get(key, (0.0, 0.0))
        pause_s = min(MOST_S, max(FIRST_S, 2 * before_s))
        self._until[key] = (self._clock.monotonic_s() + pause_s, pause_s)
        if len(self._until) > KEPT_MAX:
            del self._until[next(iter(self._until))]

    def clear(self) -> None:
        """Everything may be tried at once."""
        self._until.clear()
