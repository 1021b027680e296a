"""Whether a queue is a burst, or has come to stay: who comes to one that stands is refused, early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context

from opentelemetry.metrics import Histogram

# A queue that lasts as long as this is no burst.
STANDING_S = 1.0
# Between two looks, as long as there is no queue.
LOOK_EVERY_S = 0.01


def _none() -> int:
    return 0


class Queue:
    """How long the event loop makes everybody wait, and whether that is a burst or has come to stay.

    Work is begun in its turn, behind all that was due before. A look takes its turns like work: at most one
    is under way, begun by who comes, or by a look that found more than `wait_max_s`. When all have found that
    for `standing_s` behind the first, the queue does not shrink by itself (as CoDel has it, RFC 8289): one
    stop of the process, however long, refuses nobody.
    """

    def __init__(
        self,
        wait_max_s: float,
        *,
        waits: Histogram,
        turns: int = 1,
        ahead: Callable[[], int] = _none,
        standing_s: float = STANDING_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Work needs so many `turns` of the loop, and waits as many more as `ahead` says at the moment.

        `waits` is told what looks find.
        """
        self._wait_max_s = wait_max_s
        self._waits = waits
        self._turns = turns
        self._ahead = ahead
        self._standing_s = standing_s
        self._now_s = now_s
        # Whether a look is under way, and when the last one ended.
        self._looks = False
        self._ended_s = float("-inf")
        # Since when all looks have found too much; None: the last one did not.
        self._late_since_s: float | None = None
        self._stands = False

    def stands(self) -> bool:
        """Whether who comes now is to be refused."""
        if not self._looks:
            now_s = self._now_s()
            if now_s - self._ended_s >= LOOK_EVERY_S:
                self._looks = True
                self._go_on(now_s, 0)
        return self._stands

    def _go_on(self, began_s: float, taken: int) -> None:
        asyncio.get_running_loop().call_soon(self._look, began_s, taken + 1, context=Context())

    def _look(self, began_s: float, taken: int) -> None:
        """After so many turns."""
        now_s = self._now_s()
        wait_s = (now_s - began_s) * (1 + self._ahead() / taken)
        is_late = wait_s > self._wait_max_s
        if taken < self._turns and not is_late:
            self._go_on(began_s, taken)
            return
        self._waits.record(wait_s)
        if not is_late:
            self._ended_s, self._late_since_s = now_s, None
            self._looks = self._stands = False
            return
        if self._late_since_s is None:
            self._late_since_s = now_s
        self._stands = now_s - self._late_since_s >= self._standing_s
        self._go_on(now_s, 0)
