"""What happened in a run: its last events in words, counts of everything, and a hash over all of it."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from tests.simulation.loop import VirtualLoop, running_process

LINES_MAX = 80
# What an instance says again and again while it waits for the store.
CHATTER = {"lease cannot be seen", "journal cannot be followed"}


class Trace:
    """Notes and counts of one run."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._hash = hashlib.sha256()
        self.counts: Counter[str] = Counter()
        self.lines: deque[str] = deque(maxlen=LINES_MAX)

    @property
    def now_s(self) -> float:
        """Virtual seconds since the run began."""
        return self._loop.time()

    def note(self, who: str, what: str) -> None:
        """Something worth reading when the run fails."""
        line = f"{self.now_s:10.4f}  {who:<12} {what}"
        self.lines.append(line)
        self._hash.update(line.encode())

    def count(self, what: str, times: int = 1) -> None:
        """Something worth knowing that it occurs."""
        self.counts[what] += times

    @property
    def digest(self) -> str:
        """Equal for equal runs."""
        return self._hash.hexdigest()

    @contextmanager
    def catching_logs(self) -> Iterator[None]:
        """The ledger's own log becomes part of the trace, and is printed nowhere."""
        before = structlog.get_config()
        structlog.configure(processors=[self._logged], wrapper_class=structlog.BoundLogger)
        try:
            yield
        finally:
            structlog.configure(**before)

    def _logged(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        words = str(event.pop("event"))
        self.count(f"log: {words}")
        if words not in CHATTER:
            details = " ".join(f"{name}={value}" for name, value in event.items())
            self.note(running_process(), f"logs: {words} {details}")
        raise structlog.DropEvent
