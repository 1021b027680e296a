"""What a feed has not sent yet, bounded in number and bytes."""

from __future__ import annotations

from collections import deque

from mesh.feeds.stream import PAGE_MAX

# Events kept while Redis is away, and their bytes; the oldest are dropped, and watchers then start from a
# fresh snapshot.
BUFFER_MAX = 5_000
BUFFER_BYTES_MAX = 64_000_000
# Sent in one go, unless a single event is larger.
SEND_BYTES_MAX = 4_000_000


class Outgoing:
    """Events that wait to be sent, each a topic and a payload; when they are too much the oldest go."""

    def __init__(self) -> None:
        self._events: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        # Whether something was dropped, or may be sent twice, since `take` last told so.
        self._lost = False

    def __len__(self) -> int:
        return len(self._events)

    def add(self, topic: str, payload: bytes) -> None:
        """Behind all others."""
        self._events.append((topic, payload))
        self._bytes += len(payload)
        self._drop_oldest()

    def take(self) -> tuple[list[tuple[str, bytes]], bool]:
        """The next to be sent together, and whether something is missing before them."""
        taken: list[tuple[str, bytes]] = []
        room = SEND_BYTES_MAX
        while self._events and len(taken) < PAGE_MAX and (not taken or len(self._events[0][1]) <= room):
            taken.append(self._events.popleft())
            room -= len(taken[-1][1])
        self._bytes -= SEND_BYTES_MAX - room
        lost, self._lost = self._lost, False
        return taken, lost

    def put_back(self, taken: list[tuple[str, bytes]]) -> None:
        """They may have arrived, and will be sent again: the gap makes watchers start anew."""
        self._events.extendleft(reversed(taken))
        self._bytes += sum(len(payload) for _, payload in taken)
        self._lost = True
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._events) > BUFFER_MAX or (len(self._events) > 1 and self._bytes > BUFFER_BYTES_MAX):
            self._bytes -= len(self._events.popleft()[1])
            self._lost = True
