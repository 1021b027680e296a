"""Whether the other side is still there: who is silent for long is pinged, and then left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Looks every 5 s; after so many without a word the server is pinged, and has until the next look.
BEAT_S = 5.0
_SILENT_BEATS = 3


class Pulse:
    """Looks regularly, from `start` to `stop`, whether anything was `heard`; set that with whatever comes."""

    def __init__(self, ping: Callable[[], None], leave: Callable[[], None]) -> None:
        self.heard = False
        self._ping = ping
        self._leave = leave
        self._pinged = False
        self._silent = 0
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Looks again after a while."""
        self._next = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def stop(self) -> None:
        """Looks no more."""
        if self._next is not None:
            self._next.cancel()

    def _beat(self) -> None:
        if self.heard:
            self.heard, self._pinged, self._silent = False, False, 0
        elif self._pinged:
            self._leave()
            return
        else:
            self._silent += 1
            if self._silent >= _SILENT_BEATS:
                self._pinged = True
                self._ping()
        self.start()
