"""A server under test: a process of its own, called over gRPC with mTLS, its CPU and memory watched."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.ledger.site import LEDGER, Site
from mesh import tls
from mesh.config import MESSAGE_BYTES_MAX
from mesh.contracts import service_of
from sandbox.process import LOOPBACK, Child, StartFailed, free_port, start_child

SERVICE = service_of(LEDGER)
THE_LEDGER = "services.ledger"
TWO_UPDATES = "bench.ledger.peers.two_updates"
START_S_MAX = 180.0
STOP_S_MAX = 60.0
POLL_S = 0.02
PROBE_S_MAX = 1.0
RECONNECT_MS = 50


class Server:
    """A running server, seen from outside. Made by `serving`."""

    def __init__(self, child: Child, address: str, tls_dir: Path, stack: AsyncExitStack) -> None:
        self.child = child
        self.started_in_s = 0.0
        self._process = psutil.Process(child.pid)
        self._address = address
        self._tls_dir = tls_dir
        self._stack = stack

    def channel(self, me: str) -> grpc.aio.Channel:
        """A connection of the service `me`, without what the mesh adds: its cost is not the server's."""
        options: list[tuple[str, Any]] = [
            ("grpc.ssl_target_name_override", tls.host_name(LEDGER)),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.use_local_subchannel_pool", 1),
            # A start is measured by it: the usual second would hide what takes less.
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
        ]
        credentials = tls.channel_credentials(self._tls_dir, me)
        channel = grpc.aio.secure_channel(self._address, credentials, options=options)
        self._stack.push_async_callback(channel.close)
        return channel

    def cpu_s(self) -> float:
        """CPU time of all its threads so far."""
        times = self._process.cpu_times()
        return times.user + times.system

    def resident_bytes(self) -> int:
        """Memory it holds now."""
        return int(self._process.memory_info().rss)

    async def until_serving(self, begun_s: float) -> None:
        """Returns when it reports SERVING. Raises StartFailed when it ends or takes too long."""
        check = health_pb2_grpc.HealthStub(self.channel("launcher")).Check  # type: ignore[attr-defined] # stubs lack it
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        while time.perf_counter() - begun_s < START_S_MAX:
            if self.child.exit_code is not None:
                break
            if await _is_serving(check, request):
                self.started_in_s = time.perf_counter() - begun_s
                return
            await asyncio.sleep(POLL_S)
        raise StartFailed(f"{self.child.name} does not serve:\n{self.child.log_tail()}")


async def _is_serving(check: Any, request: health_pb2.HealthCheckRequest) -> bool:
    try:
        answer = await check(request, timeout=PROBE_S_MAX, wait_for_ready=True)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def serving(
    site: Site, data: str, *, module: str = THE_LEDGER, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """Starts `python -m module` on the records of the folder `data`, and stops it as the launcher does."""
    address = f"{LOOPBACK}:{free_port()}"
    folder = site.folder / data
    environment = {
        **site.environment,
        "SATREEL_DATA_DIR": str(folder),
        "SATREEL_LEDGER_LISTEN": address,
        **(settings or {}),
    }
    begun_s = time.perf_counter()
    child = await start_child(
        module, [sys.executable, "-m", module], log_path=folder / "server.log", env=environment
    )
    try:
        async with AsyncExitStack() as stack:
            server = Server(child, address, site.tls_dir, stack)
            await server.until_serving(begun_s)
            try:
                yield server
            except BaseException as problem:
                problem.add_note(f"Last lines of {module}:\n{child.log_tail()}")
                raise
    finally:
        await child.stop(STOP_S_MAX)
