"""When to try again."""

from __future__ import annotations

FIRST_S = 0.1
LONGEST_S = 5.0


class Backoff:
    """Waits that double from one failure to the next, up to `LONGEST_S`. One leader retries: no jitter."""

    def __init__(self) -> None:
        self.failures = 0
        self.due_at_s = 0.0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        self.failures += 1
        return min(FIRST_S * (1 << min(self.failures - 1, 16)), LONGEST_S)

    def failed(self, now_s: float) -> None:
        """Puts off the next attempt."""
        self.due_at_s = now_s + self.next_s()

    def is_due(self, now_s: float) -> bool:
        """Whether the next attempt may be made."""
        return now_s >= self.due_at_s
