"""Whose turn it is: one client's work may not keep the loop from the others.

The loop does one thing at a time. So documents that are new are read one by one, clients in turn, and reading
takes no more than half of the time; and a client has so many operations under way at once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mesh.errors import Exhausted

# Of one client, in each line.
WAITING_MAX = 1_000
# What takes less than this leaves room enough for others.
SHORT_S = 0.002


class TooManyWaiting(Exhausted):
    """So many of this client's operations wait for their turn that no more may; try again later."""

    reason = "TOO_MANY_WAITING"


class _Line:
    """Who waits, by client: the clients take turns."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def wait(self, client: str, give_back: Callable[[], None]) -> None:
        """Returns when it is called; one that was called and cannot come gives its turn back.

        Raises TooManyWaiting.
        """
        queue = self._waiting.setdefault(client, deque())
        if len(queue) >= WAITING_MAX:
            raise TooManyWaiting(maximum=WAITING_MAX)
        called = asyncio.get_running_loop().create_future()
        queue.append(called)
        try:
            await called
        except asyncio.CancelledError:
            if not called.cancelled():
                give_back()
            raise

    def call(self) -> bool:
        """Whether there was somebody to call."""
        while self._waiting:
            client, queue = self._waiting.popitem(last=False)
            called = queue.popleft()
            if queue:
                self._waiting[client] = queue
            if not called.done():
                called.set_result(None)
                return True
        return False


class Lane:
    """For work that holds the loop: one at a time."""

    def __init__(self) -> None:
        self._line = _Line()
        self._taken = False
        self._began_s = 0.0

    async def enter(self, client: str) -> None:
        """Waits for the lane. `leave` must follow. Raises TooManyWaiting."""
        if self._taken:
            await self._line.wait(client, self._pass_on)
        self._taken = True
        self._began_s = asyncio.get_running_loop().time()

    def leave(self) -> None:
        """The next may enter once others have had as much time."""
        loop = asyncio.get_running_loop()
        took_s = loop.time() - self._began_s
        if took_s > SHORT_S:
            loop.call_later(took_s, self._pass_on)
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        self._taken = self._line.call()


class Gate:
    """For operations of one client: `running_max` at once."""

    def __init__(self, running_max: int) -> None:
        self._running_max = running_max
        self._running: dict[str, int] = {}
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def passed(self, client: str) -> AsyncIterator[None]:
        """Around an operation. Raises TooManyWaiting."""
        await self.enter(client)
        try:
            yield
        finally:
            self.leave(client)

    async def enter(self, client: str) -> None:
        """Waits until one more may run; `leave` must follow. Raises TooManyWaiting."""
        running = self._running.get(client, 0)
        if running >= self._running_max:
            # Whoever leaves hands its place over.
            line = self._lines.setdefault(client, _Line())
            await line.wait(client, lambda: self.leave(client))
        else:
            self._running[client] = running + 1

    def leave(self, client: str) -> None:
        """The next may run."""
        line = self._lines.get(client)
        if line is not None and line.call():
            return
        self._lines.pop(client, None)
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]
