"""Several processes of the gateway on one port: their parent starts them, starts them again, and stops them.

All take connections from one listening socket, which is the parent's. Whoever is free takes the next, so none
waits for a process that is busy, and none is lost with one that stops, as it were with SO_REUSEPORT.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence

from graphql_gateway.config import GatewaySettings
from mesh import logs

log = logs.logger(__name__)

BACKLOG = 1_024
# Before a worker that ended is started again; longer each time it does not last.
PAUSE_S, PAUSE_S_MAX = 0.5, 10.0
LASTED_S = 30.0
# A worker that is told to stop has its own time limits, and this much more.
STOP_MORE_S = 15.0


async def main(settings: GatewaySettings, arguments: Sequence[str]) -> None:
    """Serves until told to stop, by as many processes as the settings say. Raises OSError: a taken port."""
    host, _, port = settings.http_listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG) as listening:
        listening.setblocking(False)
        parent = _Parent(settings, arguments, listening.fileno())
        loop = asyncio.get_running_loop()
        for signal_ in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_, parent.stop, signal_.name)
        log.info("listening", address=settings.http_listen, port=listening.getsockname()[1])
        await parent.run()


class _Parent:
    def __init__(self, settings: GatewaySettings, arguments: Sequence[str], socket_fd: int) -> None:
        self._settings = settings
        self._argv = (sys.executable, "-m", "graphql_gateway", *arguments)
        self._socket_fd = socket_fd
        self._environment = _shared(settings)
        self._stopping = asyncio.Event()

    def stop(self, why: str) -> None:
        """Ends `run`."""
        log.info("stopping", why=why)
        self._stopping.set()

    async def run(self) -> None:
        """Keeps the workers, until told to stop and all have ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(1, self._settings.worker_count + 1):
                group.create_task(self._keep(number), name=f"worker {number}")

    async def _keep(self, number: int) -> None:
        loop, pause_s = asyncio.get_running_loop(), PAUSE_S
        while not self._stopping.is_set():
            began_s = loop.time()
            worker = await self._start(number)
            try:
                code = await self._until_over(worker)
            finally:
                if worker.returncode is None:
                    worker.kill()
            if self._stopping.is_set():
                return
            pause_s = PAUSE_S if loop.time() - began_s > LASTED_S else min(2 * pause_s, PAUSE_S_MAX)
            log.warning("a worker ended", worker=number, code=code, again_in_s=pause_s)
            await self._stops_within(pause_s)

    async def _start(self, number: int) -> Process:
        worker = await asyncio.create_subprocess_exec(
            *self._argv,
            "--place",
            str(number),
            str(self._socket_fd),
            # Its end tells the worker that we are gone.
            stdin=PIPE,
            pass_fds=(self._socket_fd,),
            env=self._environment,
        )
        log.info("a worker starts", worker=number, pid=worker.pid)
        return worker

    async def _until_over(self, worker: Process) -> int:
        """Its exit code. Once we stop it is told so, and killed when it takes too long."""
        over = asyncio.ensure_future(worker.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((over, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                worker.send_signal(signal.SIGTERM)
                limit_s = 2 * self._settings.drain_s + self._settings.stop_grace_s + STOP_MORE_S
                await asyncio.wait((over,), timeout=limit_s)
                if not over.done():
                    log.error("a worker does not stop", pid=worker.pid)
                    worker.kill()
            return await over
        finally:
            stopping.cancel()

    async def _stops_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass


def _shared(settings: GatewaySettings) -> Mapping[str, str]:
    """What the environment says, and a key of film tickets that is the same for all."""
    key = settings.ticket_key.get_secret_value() or secrets.token_urlsafe(32)
    return {**os.environ, "SATREEL_GATEWAY_TICKET_KEY": key}
