"""Whose turn it is: one client's work may not keep the loop from the others.

The loop does one thing at a time. So few requests begin in one turn of it, clients in turn; documents that
are new are read one by one, and reading takes no more than half of the time; and a client has so many
operations under way at once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from mesh.errors import Exhausted

# Of one client, in each line.
WAITING_MAX = 1_000
# What takes less than this leaves room enough for others.
SHORT_S = 0.002
# Requests that begin in one turn of the loop: some 2 ms of work.
BEGUN_MAX = 8


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

    @property
    def clients(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._waiting

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


class Door:
    """For what arrives: `begun_max` pass in each turn of the loop."""

    def __init__(self, begun_max: int = BEGUN_MAX) -> None:
        self._begun_max = begun_max
        self._begun = 0
        self._line = _Line()

    async def enter(self, address: str) -> None:
        """Waits for a turn of the loop with room, seldom longer than for the next. Raises TooManyWaiting."""
        if self._begun >= self._begun_max or not self._line.is_empty:
            # A turn that is given to one who has left is lost: the next comes at once.
            await self._line.wait(address, lambda: None)
            return
        self._begun += 1
        if self._begun == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    def turns_ahead(self) -> int:
        """Of the loop, until one who comes now would be let in: as clients take turns, each waits for all."""
        return self._line.clients // self._begun_max

    def _turn(self) -> None:
        self._begun = 0
        while self._begun < self._begun_max and self._line.call():
            self._begun += 1
        if self._begun:
            asyncio.get_running_loop().call_soon(self._turn)


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

    def passed(self, client: str) -> AbstractAsyncContextManager[None]:
        """Around an operation. Entering raises TooManyWaiting."""
        return _Passed(self, client)

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


class _Passed(AbstractAsyncContextManager[None]):
    __slots__ = ("_client", "_gate")

    def __init__(self, gate: Gate, client: str) -> None:
        self._gate = gate
        self._client = client

    async def __aenter__(self) -> None:
        await self._gate.enter(self._client)

    async def __aexit__(self, *_: object) -> None:
        self._gate.leave(self._client)
