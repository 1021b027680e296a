"""What a composition root stands on: logs, telemetry, channels, Redis, server, supervised background work.

async def main(settings: LedgerSettings) -> None:
    async with Runtime(settings) as runtime:
        ...
        await runtime.serve()

if __name__ == "__main__":
    run(LedgerSettings, main)
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import Context
from functools import partial
from typing import Any, Self, TypeVar

import redis.asyncio
import uvloop
from redis.exceptions import NoScriptError

from mesh import config, logs, telemetry
from mesh.channel import MeshChannel, connect
from mesh.clock import Clock, SystemClock
from mesh.config import MeshSettings
from mesh.revocations import Revocations
from mesh.server import Health, MeshServer

log = logs.logger(__name__)

Settings = TypeVar("Settings", bound=MeshSettings)
Resource = TypeVar("Resource")
Servicer = TypeVar("Servicer")
Work = Callable[[], Coroutine[Any, Any, None]]

REDIS_TIMEOUT_S = 5.0
REDIS_CONNECTIONS_MAX = 128


def run(
    settings_class: type[Settings],
    main: Callable[[Settings], Coroutine[Any, Any, None]],
    arguments: list[str] | None = None,
) -> None:
    """The whole of a service's `__main__`: reads settings, sets up logs, runs `main` on uvloop.

    `arguments` are those of the command line that are left to read, all of them unless given.

    Exits with 0 after SIGTERM or SIGINT, 1 after a crash (which it logs), 2 on wrong settings.
    """
    settings = config.load(settings_class, arguments)
    # gRPC's own log lines are not ours to parse; what matters of them reaches us as failures.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logs.configure(service=settings.service, level=settings.log_level, as_json=settings.log_format == "json")
    try:
        uvloop.run(main(settings))
    except (Exception, asyncio.CancelledError) as problem:
        log.exception("crashed")
        raise SystemExit(1) from problem


class Runtime:
    """The running process of one service. Enter it, hand it what should run, then `serve`.

    Resources are closed in reverse order of opening, after the server has drained and background work ended.
    """

    def __init__(
        self, settings: MeshSettings, *, clock: Clock | None = None, worker: int | None = None
    ) -> None:
        """`worker`: the number of this process, where several serve one address."""
        self.settings = settings
        self._worker = worker
        self.clock: Clock = clock or SystemClock()
        self._resources = AsyncExitStack()
        self._channels: dict[tuple[str, str | None, str], MeshChannel] = {}
        self._redis: redis.asyncio.Redis | None = None
        self._work: list[tuple[str, Work, bool]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._leading: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._leave: list[Callable[[], Awaitable[Any]]] = []

    async def __aenter__(self) -> Self:
        instance = f"{socket.gethostname()}/{self.settings.address}"
        exporters = telemetry.start(
            service=self.settings.service,
            instance=instance if self._worker is None else f"{instance}#{self._worker}",
            endpoint=self.settings.otlp_endpoint,
            trace_ratio=self.settings.trace_ratio,
            slow_s=self.settings.trace_slow_s,
            faces_strangers=self.settings.faces_strangers,
        )
        self._resources.push_async_callback(asyncio.to_thread, exporters.close)
        if self.settings.otlp_endpoint:
            self.background(telemetry.watch_loop, "loop lag")
        self.revocations = Revocations(self.settings.redis_url, self.clock)
        self.background(self.revocations.run, "revocations")
        self.server = MeshServer(self.settings, self.clock, self.revocations)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    @property
    def health(self) -> Health:
        """What is reported as serving: `await runtime.health.set("satreel.x.v1.XService", True)`."""
        return self.server.health

    @property
    def redis(self) -> redis.asyncio.Redis:
        """The Redis client: it connects when used; a Redis that is away fails only what needs it."""
        if self._redis is None:
            self._redis = _Redis.from_url(
                self.settings.redis_url,
                socket_timeout=REDIS_TIMEOUT_S,
                socket_connect_timeout=REDIS_TIMEOUT_S,
                max_connections=REDIS_CONNECTIONS_MAX,
            )
            self._resources.push_async_callback(self._redis.aclose)
        return self._redis

    def channel(self, peer: str, *, service: str | None = None, health: str = "") -> MeshChannel:
        """The channel to a peer of `SATREEL_PEERS`, by default to its `satreel.<peer>.v1.<Peer>Service`.

        Calls go to servers that report `health`, by default the service itself. Raises LookupError when the
        settings do not say where the peer is.
        """
        key = (peer, service, health)
        if key not in self._channels:
            if peer not in self.settings.peers:
                raise LookupError(f'SATREEL_PEERS does not say where "{peer}" is')
            opened = connect(
                me=self.settings.service,
                peer=peer,
                addresses=self.settings.peers[peer],
                tls_dir=self.settings.tls_dir,
                behind_sidecar=self.settings.behind_sidecar,
                service=service,
                health=health,
                message_bytes_max=self.settings.message_bytes_max,
            )
            self._resources.push_async_callback(opened.close)
            self._channels[key] = opened
        return self._channels[key]

    async def enter(self, resource: AbstractAsyncContextManager[Resource]) -> Resource:
        """Opens a resource that is closed when the process ends."""
        return await self._resources.enter_async_context(resource)

    def on_close(self, close: Callable[[], Awaitable[Any]]) -> None:
        """Calls `close` when the process ends."""
        self._resources.push_async_callback(close)

    def on_stop(self, leave: Callable[[], Awaitable[Any]]) -> None:
        """Calls `leave` when `serve` is told to stop, while background work goes on. Not after a crash."""
        self._leave.append(leave)

    async def add(
        self, adder: Callable[[Servicer, Any], None], servicer: Servicer, *, serving: bool = True
    ) -> None:
        """Adds a servicer with its generated `add_…_to_server`; a standby's starts with serving=False."""
        await self.server.add(adder, servicer, serving=serving)

    def background(self, work: Work, name: str, *, leads: bool = False) -> None:
        """Runs `work()` from `serve` on, or at once when serving already; if it raises, the process stops.

        It runs in a context of its own: no caller, no deadline, no trace of whoever started it. What `leads`
        (`leases.lead`) ends first when the process is to stop: another one leads while this one drains.
        """
        if self._group is None:
            self._work.append((name, work, leads))
            return
        task = self._group.create_task(_supervised(work, name), name=name, context=Context())
        tasks = self._leading if leads else self._tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def serve(self) -> None:
        """Serves until SIGTERM, SIGINT or `stop`, then drains. Raises what background work raised."""
        loop = asyncio.get_running_loop()
        for signal_ in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_, partial(self.stop, signal_.name))
        try:
            await self._serve()
        finally:
            for signal_ in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(signal_)

    def stop(self, why: str = "asked to") -> None:
        """Ends `serve`, gracefully."""
        log.info("stopping", why=why)
        self._stopping.set()

    async def _serve(self) -> None:
        if self.server.services:
            await self.server.start()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for name, work, leads in self._work:
                    self.background(work, name, leads=leads)
                await self._stopping.wait()
                for leave in self._leave:
                    await leave()
                if self._leading:
                    await self._resign()
                if self.server.services:
                    await self.server.stop()
                for task in tuple(self._tasks):
                    task.cancel()
        finally:
            # After a crash of background work there is no drain: callers go elsewhere, the launcher restarts.
            self._group = None
            await self.server.abort()

    async def _resign(self) -> None:
        """Nothing of this process acts as a leader behind it, and no lease of it is held.

        What does not end within `drain_s` has its lease run out, and keeps nobody from being drained.
        """
        await self.server.resign()
        leading = tuple(self._leading)
        for task in leading:
            task.cancel()
        _, late = await asyncio.wait(leading, timeout=self.settings.drain_s)
        if late:
            log.warning("what leads does not end", work=[task.get_name() for task in late])
        else:
            log.info("handed over")


class _Redis(redis.asyncio.Redis):
    """A client whose commands are seen in traces, by their names alone."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The answer to one command."""
        command = str(args[0])
        named = {"db.system.name": "redis", "db.operation.name": command}
        with telemetry.tracer.outgoing(command, named):
            try:
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except NoScriptError as problem:
                # An answer: the client sends the whole script then.
                unknown = problem
        raise unknown


async def _supervised(work: Work, name: str) -> None:
    try:
        await work()
    except Exception:
        log.exception("background work crashed", work=name)
        raise
