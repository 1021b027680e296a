"""A request's resolver calls: started in the request's own task, gone on with when they can be, remembered.

graphql-core makes a task of every asynchronous field. Here a resolver runs at once until it waits for
something, and its value goes into the place in the answer that is kept for it. All of them run in the
request's task, so a resolver must not use what belongs to a task: `asyncio.timeout` and `asyncio.TaskGroup`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, TypeAlias

# Where a value stands in the answer: the path of its object, and its key or index there; None: the answer.
Path: TypeAlias = tuple[Any, str | int] | None
Complete: TypeAlias = Callable[[Any, Path], Any]


class Unusual(Exception):  # noqa: N818 - it is no error
    """A value that a plan does not know how to show: graphql-core decides."""


class Call:
    """One call of a resolver. Awaited, it is run to its end, once, and gives its outcome."""

    __slots__ = (
        "complete",
        "coroutine",
        "ended",
        "path",
        "problem",
        "target",
        "value",
        "waited",
        "waits_for",
        "wave",
    )

    def __init__(self, path: Path, complete: Complete | None, wave: int = 0) -> None:
        self.path = path
        # None: of a synchronous resolver.
        self.complete = complete
        # The waves (`Calls.wave`) since when it waits for what it waits for, or waited last, and is over.
        self.wave = wave
        self.ended = wave
        # None: it is over.
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        # Whether it waits, or has waited, and for what; None: the loop's next turn.
        self.waited = False
        self.waits_for: Any = None
        # The object that its completed value belongs into.
        self.target: dict[Any, Any] = {}
        self.value: Any = None
        self.problem: BaseException | None = None

    def outcome(self) -> Any:
        """The value of a call that is over. Raises what the call raised."""
        if self.problem is not None:
            raise self.problem
        return self.value

    def advance(self, wave: int) -> bool:
        """Runs it on until it ends or waits; gives whether it ended. Raises what it raises."""
        try:
            self.waits_for = self.coroutine.send(None)  # type: ignore[union-attr] # it is not over
        except StopIteration as done:
            self.value = done.value
        except BaseException as problem:
            self.problem = problem
            self.coroutine = None
            raise
        else:
            self.wave, self.waited = wave, True
            return False
        finally:
            self.ended = wave
        self.coroutine = None
        return True

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, waits_for = self.coroutine, self.waits_for
        self.coroutine = None
        if coroutine is None:
            if self.waited:
                # A turn of the loop, as waiting for what is there takes; if that failed, the call has heard.
                yield None
            return self.outcome()
        if waits_for is not None:
            # As Future.__await__ leaves it for the task.
            waits_for._asyncio_future_blocking = True  # noqa: SLF001 - asyncio's protocol of futures and tasks
        try:
            if not self.waited:
                waits_for = coroutine.send(None)
            while True:
                try:
                    sent = yield waits_for
                except BaseException as thrown:  # handed on, as a task hands it
                    waits_for = coroutine.throw(thrown)
                else:
                    waits_for = coroutine.send(sent)
        except StopIteration as done:
            return done.value


class Calls:
    """The calls of one request."""

    def __init__(self) -> None:
        self.made: list[Call] = []
        # How often calls were gone on with, all that could be.
        self.wave = 0
        self._loop = asyncio.get_running_loop()
        # What calls wait for; None: the loop's next turn.
        self._waiters: dict[Any, list[Call]] = {}
        # Calls that may go on.
        self._woken: deque[Call] = deque()
        self._waker: asyncio.Future[None] | None = None

    def ask(self, path: Path, resolver: Callable[..., Any], *given: Any, **more: Any) -> Any:
        """Calls a synchronous resolver; gives its value. Raises what it raises."""
        call = Call(path, None)
        self.made.append(call)
        try:
            value = call.value = resolver(*given, **more)
        except BaseException as problem:
            call.problem = problem
            raise
        return value

    def start(self, path: Path, coroutine: Coroutine[Any, Any, Any], complete: Complete) -> Any:
        """Starts an asynchronous resolver; gives its completed value, or the call when it has to wait.

        The `target` of such a call is to be set to the object that holds it.
        """
        call = Call(path, complete, self.wave)
        call.coroutine = coroutine
        self.made.append(call)
        if call.advance(self.wave):
            return complete(call.value, path)
        self._wait(call)
        return call

    async def settle(self) -> None:
        """Until no call waits. Raises what a resolver or completion raised; other calls stay as they are."""
        while self._waiters or self._woken:
            if not self._woken:
                self._waker = self._loop.create_future()
                await self._waker
            self.wave += 1
            while self._woken:
                call = self._woken.popleft()
                if not call.advance(self.wave):
                    self._wait(call)
                else:
                    call.target[call.path[1]] = call.complete(call.value, call.path)  # type: ignore[misc, index]

    def _wait(self, call: Call) -> None:
        waits_for = call.waits_for
        if waits_for is not None:
            waits_for._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol of futures and tasks
        waiters = self._waiters.get(waits_for)
        if waiters is not None:
            waiters.append(call)
            return
        self._waiters[waits_for] = [call]
        if waits_for is None:
            self._loop.call_soon(self._wake, None)
        else:
            waits_for.add_done_callback(self._wake)

    def _wake(self, waited_for: Any) -> None:
        self._woken += self._waiters.pop(waited_for)
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)


async def cancel(calls: Iterable[Call]) -> None:
    """Cancels those that are under way, and waits for their end."""
    under_way = [call for call in calls if call.coroutine is not None]
    for call in under_way:
        if call.waits_for is not None:
            call.waits_for.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
