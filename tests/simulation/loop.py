"""Virtual time: an event loop that jumps to its next timer, and processes inside it that freeze and die.

A `Process` is what an operating system process is to the tasks in it: they stop, go on and end together,
while everything outside goes on. Who belongs to it is told by a context variable that tasks inherit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Args = TypeVarTuple("Args")


class Stuck(Exception):  # noqa: N818 - a state of the world
    """Nobody waits for time to pass any more, so nothing would ever happen."""


class Process:
    """Tasks that share their fate. `steps` counts their callbacks: between two of them lies an await."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps = 0
        self.frozen = False
        # What it says or writes from now on reaches nobody.
        self.dead = False
        self.stalled: list[_Step] = []
        self._fuse: tuple[int, Callable[[], None]] | None = None

    def after_steps(self, steps: int, act: Callable[[], None]) -> None:
        """Stops the process behind so many more steps and has `act` decide what becomes of it."""
        self._fuse = (self.steps + steps, act)

    def disarm(self) -> None:
        """Nothing comes of `after_steps` any more."""
        self._fuse = None

    def took_step(self, loop: VirtualLoop) -> None:
        """Counts a step; the fuse burns."""
        self.steps += 1
        if self._fuse is not None and self.steps >= self._fuse[0]:
            _, act = self._fuse
            self._fuse = None
            self.frozen = True
            loop.outside(0, act)


_PROCESS: ContextVar[Process | None] = ContextVar("simulated_process", default=None)


def running_process() -> str:
    """Name of the process that runs now; empty outside of all."""
    process = _PROCESS.get()
    return process.name if process else ""


class _Step:
    """A callback of a process: runs unless the process is frozen; then it waits for the thaw."""

    __slots__ = ("_args", "_callback", "_loop", "_process", "context", "handle")

    def __init__(
        self,
        loop: VirtualLoop,
        process: Process,
        callback: Callable[..., object],
        args: tuple[object, ...],
        context: Context,
    ) -> None:
        self._loop = loop
        self._process = process
        self._callback = callback
        self._args = args
        self.context = context
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        if self.handle is not None and self.handle.cancelled():
            return  # while it was stalled
        if self._process.frozen:
            self._process.stalled.append(self)
            return
        self._callback(*self._args)
        self._process.took_step(self._loop)


class _Selector:
    """What the loop waits in: there is nothing to wait for but time."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise Stuck
        self.now_s += timeout
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs tasks on virtual time, without I/O or threads: the same tasks always run in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()
        self._outside = copy_context()

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._selector.now_s

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        """As ever; callbacks of a process are steps of it."""
        process = _PROCESS.get() if context is None else context.get(_PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        step = _Step(self, process, callback, args, context or copy_context())
        step.handle = super().call_soon(step, context=step.context)
        return step.handle

    def call_at(
        self, when: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As ever; callbacks of a process are steps of it."""
        process = _PROCESS.get() if context is None else context.get(_PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        step = _Step(self, process, callback, args, context or copy_context())
        timer = super().call_at(when, step, context=step.context)
        step.handle = timer
        return timer

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Args], Result], *args: *Args
    ) -> asyncio.Future[Result]:
        """At once: in virtual time there is nothing to be gained from a thread."""
        result: asyncio.Future[Result] = self.create_future()
        try:
            result.set_result(func(*args))
        except Exception as problem:
            result.set_exception(problem)
        return result

    def outside(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        """Calls later from outside of all processes: the work of wires, disks and fate."""
        self.call_later(delay_s, callback, *args, context=self._outside)

    def spawn(
        self, process: Process, coroutine: Coroutine[Any, Any, Result], name: str
    ) -> asyncio.Task[Result]:
        """A task of this process; so are all that it starts."""
        context = self._outside.copy()
        context.run(_PROCESS.set, process)
        return self.create_task(coroutine, name=name, context=context)

    def thaw(self, process: Process) -> None:
        """Lets a frozen process go on with all that it missed, in order."""
        process.frozen = False
        stalled, process.stalled = process.stalled, []
        for step in stalled:
            super().call_soon(step, context=step.context)

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run_now(work: Awaitable[Result]) -> Result:
    """The result of work that never really waits."""

    async def wait() -> Result:
        return await work

    running = wait()
    try:
        running.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    raise RuntimeError("it waits")
