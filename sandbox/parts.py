"""The processes of the mesh: started, watched, started again when they die, stopped in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.process import LOOPBACK, Child, SandboxFailure, StartFailed, start_child

READY_TIMEOUT_S = 60.0
STILL_WAITING_S = 10.0
POLL_S = 0.1
STOP_TERM_WAIT_S = 15.0
RESTARTS_MAX = 5
RESTARTS_WINDOW_S = 60.0
RESTART_PAUSE_S = 0.5

Progress = Callable[[str], None]


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class Part:
    """A process of the mesh: how it is started, and the running one."""

    name: str
    argv: list[str]
    env: dict[str, str]
    child: Child | None = None
    wanted: bool = True
    may_start: asyncio.Event = field(default_factory=_set_event)
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS_MAX + 1))


class Parts:
    """All of them by name. `failed` has the reason once one keeps dying."""

    def __init__(self, logs: Path, progress: Progress) -> None:
        self.running: dict[str, Part] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.logs = logs
        self.progress = progress
        self._watchers: set[asyncio.Task[None]] = set()

    def log_path(self, name: str) -> Path:
        """Where a part writes its log."""
        return self.logs / f"{name}.log"

    async def start(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        """Starts one, and again whenever it dies."""
        part = self.running[name] = Part(name, argv, env)
        await self._spawn(part)
        watcher = asyncio.create_task(self._watch(part), name=f"watch {name}")
        self._watchers.add(watcher)

    async def _spawn(self, part: Part) -> None:
        part.starts.append(time.monotonic())
        part.child = await start_child(part.name, part.argv, log_path=self.log_path(part.name), env=part.env)

    async def _watch(self, part: Part) -> None:
        while part.child is not None:
            code = await part.child.process.wait()
            if not part.wanted:
                return
            if _dies_often(part.starts):
                self._fail(part, code)
                return
            self.progress(f"{part.name} ended with code {code}; starting it again")
            await asyncio.sleep(RESTART_PAUSE_S)
            await part.may_start.wait()
            await self._spawn(part)

    def _fail(self, part: Part, code: int) -> None:
        tail = part.child.log_tail() if part.child else ""
        problem = StartFailed(
            f"{part.name} ended {RESTARTS_MAX} times within {RESTARTS_WINDOW_S:.0f} s, the last time with "
            f"code {code}. Its log is {self.log_path(part.name)}:\n{tail}"
        )
        if not self.failed.done():
            self.failed.set_exception(problem)

    async def kill(self, name: str) -> None:
        """SIGKILL, as a crash would; the launcher starts it again by itself."""
        child = self._alive(name)
        child.process.kill()
        await child.process.wait()

    @asynccontextmanager
    async def ended(self, name: str) -> AsyncIterator[None]:
        """SIGTERM, and waits until it has ended; behind the block the launcher starts it again."""
        may_start = self.running[name].may_start
        may_start.clear()
        try:
            await self._alive(name).stop(STOP_TERM_WAIT_S)
            yield
        finally:
            may_start.set()

    def _alive(self, name: str) -> Child:
        child = self.running[name].child
        if child is None or child.exit_code is not None:
            raise SandboxFailure(f"{name} is not running")
        return child

    async def stop(self, order: Iterable[Iterable[str]]) -> None:
        """Stops them, group after group; kills what does not listen."""
        for part in self.running.values():
            part.wanted = False
        for group in order:
            found = [self.running[name].child for name in group if name in self.running]
            await asyncio.gather(*(child.stop(STOP_TERM_WAIT_S) for child in found if child is not None))
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    async def until_listening(self, name: str, port: int) -> None:
        """Returns when it takes connections, and says so. Raises StartFailed."""

        async def listening() -> bool:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                return False
            writer.close()
            return True

        await self.until(listening, name)
        self.progress(f"{name} serves")

    async def until(self, ready: Callable[[], Awaitable[bool]], name: str) -> None:
        """Returns when it is ready. Raises StartFailed when one keeps dying, or it takes too long."""
        begun = told = time.monotonic()
        child = self.running[name].child
        while (now := time.monotonic()) - begun < READY_TIMEOUT_S:
            if self.failed.done():
                self.failed.result()
            if await ready():
                return
            if now - told > STILL_WAITING_S:
                told = now
                self.progress(f"still waiting for {name}: {_last_line(child)}")
            await asyncio.sleep(POLL_S)
        tail = child.log_tail() if child else ""
        raise StartFailed(f"{name} does not serve after {READY_TIMEOUT_S:.0f} s:\n{tail}")


def _dies_often(starts: deque[float]) -> bool:
    return len(starts) > RESTARTS_MAX and time.monotonic() - starts[0] < RESTARTS_WINDOW_S


def _last_line(child: Child | None) -> str:
    return (child.log_tail() if child else "").rpartition("\n")[2] or "it has said nothing yet"
