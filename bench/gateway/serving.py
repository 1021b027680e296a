"""The processes of a run: the services, and one gateway after another before them."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from bench.gateway.operations import ALL
from graphql_gateway.services import Services
from mesh import tls
from sandbox.environment import inherited
from sandbox.process import LOOPBACK, StartFailed, free_port
from sandbox.valkey import running_valkey
from tools import npm
from tools.protogen import DESCRIPTORS

ROOT = Path(__file__).resolve().parents[2]
MERCURIUS = ROOT / "bench" / "peers" / "mercurius"
START_S_MAX = 60.0
STOP_S_MAX = 30.0
# Of what clients tell of their messages.
LINE_BYTES_MAX = 1 << 20
GATEWAY, STOCK, JIT, GRAPHQL_WS = "gateway", "stock Strawberry", "Mercurius", "graphql-ws"
# One client, on one address, stands for all of them: what a client may ask for is not what is measured.
UNBOUNDED = {
    "SATREEL_GATEWAY_REQUESTS_PER_MIN": "1000000000",
    "SATREEL_GATEWAY_ADDRESS_REQUESTS_PER_MIN": "1000000000",
    "SATREEL_GATEWAY_COST_PER_MIN": "1000000000000",
    "SATREEL_GATEWAY_OPERATIONS_PER_CLIENT_MAX": "100000",
    "SATREEL_GATEWAY_CONNECTIONS_PER_ADDRESS_MAX": "100000",
    "SATREEL_GATEWAY_CONNECTIONS_PER_USER_MAX": "100000",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running process that listens on loopback."""

    name: str
    port: int
    process: Process

    @property
    def _seen(self) -> list[psutil.Process]:
        """It, and its workers if it has some."""
        process = psutil.Process(self.process.pid)
        return [process, *process.children()]

    def cpu_s(self) -> float:
        """CPU time of all its threads so far, as the operating system counts it."""
        times = [one.cpu_times() for one in self._seen]
        return sum(one.user + one.system for one in times)

    def resident_bytes(self) -> int:
        """Memory it holds now."""
        return sum(int(one.memory_info().rss) for one in self._seen)

    def files(self) -> int:
        """Sockets and files that it holds open."""
        return sum(int(one.num_fds()) for one in self._seen)

    def clients(self) -> set[int]:
        """Ports of those that are connected."""
        ends = [end.raddr for one in self._seen for end in one.net_connections("tcp")]
        return {end[1] for end in ends if tuple(end)}

    def order(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run takes place: the services, and what gateways need to find them."""

    folder: Path
    services: Server
    redis_url: str

    @property
    def _address(self) -> str:
        return f"{LOOPBACK}:{self.services.port}"

    @asynccontextmanager
    async def gateway(self, *program: str, workers: int = 1) -> AsyncIterator[Server]:
        """The gateway as in production, or a program around it, that knows the run's documents by name."""
        manifest = self.folder / "documents.json"
        manifest.write_text(json.dumps({operation.sha256: operation.document for operation in ALL}))
        port = free_port()
        environment = {
            **inherited(),
            **UNBOUNDED,
            "SATREEL_PEERS": json.dumps(dict.fromkeys(Services.__slots__, self._address)),
            "SATREEL_REDIS_URL": self.redis_url,
            "SATREEL_DATA_DIR": str(self.folder),
            "SATREEL_DRAIN_S": "0",
            "SATREEL_STOP_GRACE_S": "1",
            "SATREEL_GATEWAY_HTTP_LISTEN": f"{LOOPBACK}:{port}",
            "SATREEL_GATEWAY_TRUSTED_DOCUMENTS": json.dumps([str(manifest)]),
            "SATREEL_GATEWAY_WORKERS": str(workers),
        }
        argv = (sys.executable, "-m", *(program or ("graphql_gateway",)))
        async with _running(argv, environment, self.folder / "gateway.log") as process:
            await _until_healthy(f"http://{LOOPBACK}:{port}/healthz", process, self.folder / "gateway.log")
            yield Server(GATEWAY, port, process)

    @asynccontextmanager
    async def stock(self) -> AsyncIterator[Server]:
        """Strawberry's own view."""
        argv = (sys.executable, "-m", "bench.peers.strawberry_stock", self._address)
        async with told(STOCK, argv, self.folder) as server:
            yield server

    @asynccontextmanager
    async def mercurius(self) -> AsyncIterator[Server]:
        """Mercurius with its JIT, that knows the run's documents by name."""
        persisted = self.folder / "persisted.json"
        persisted.write_text(json.dumps({operation.sha256: operation.document for operation in ALL}))
        async with self._node(JIT, "gateway.mjs", str(persisted)) as server:
            yield server

    @asynccontextmanager
    async def graphql_ws(self) -> AsyncIterator[Server]:
        """npm graphql-ws with graphql-js."""
        async with self._node(GRAPHQL_WS, "sockets.mjs") as server:
            yield server

    @asynccontextmanager
    async def _node(self, name: str, program: str, *arguments: str) -> AsyncIterator[Server]:
        descriptors = _in_camel_case(ROOT / "gen" / DESCRIPTORS, self.folder / DESCRIPTORS)
        argv = (str(npm.NODE), str(MERCURIUS / program), str(descriptors), self._address, *arguments)
        async with told(name, argv, self.folder) as server:
            yield server


def _in_camel_case(descriptors: Path, copy: Path) -> Path:
    """Descriptors as proto-loader makes them of .proto files: of a descriptor set it keeps the names."""
    found = FileDescriptorSet.FromString(descriptors.read_bytes())
    messages = [message for file in found.file for message in file.message_type]
    while messages:
        message = messages.pop()
        messages.extend(message.nested_type)
        for field in message.field:
            field.name = field.json_name or field.name
    copy.write_bytes(found.SerializeToString())
    return copy


@asynccontextmanager
async def running_site() -> AsyncIterator[Site]:
    """Valkey and the services, in a temporary folder, for the length of a `with` block."""
    npm.install(MERCURIUS)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="satreel-bench-")))
        keys = tls.make_user_token_keys(folder)
        valkey = await stack.enter_async_context(running_valkey(folder / "valkey", free_port()))
        argv = (sys.executable, "-m", "bench.gateway.services", *map(str, keys))
        services = await stack.enter_async_context(told("services", argv, folder))
        yield Site(folder, services, valkey.url)


@asynccontextmanager
async def told(
    name: str, argv: tuple[str, ...], folder: Path, *, start_s_max: float = START_S_MAX
) -> AsyncIterator[Server]:
    """A program that prints its port when it is ready and ends with its standard input."""
    log = folder / f"{name.replace(' ', '-')}.log"
    async with _running(argv, {**inherited(), "NODE_ENV": "production"}, log, speaks=True) as process:
        assert process.stdout is not None
        async with asyncio.timeout(start_s_max):
            line = await process.stdout.readline()
        if not line:
            raise StartFailed(f"{name} did not start:\n{_tail(log)}")
        yield Server(name, json.loads(line)["port"], process)


@asynccontextmanager
async def _running(
    argv: tuple[str, ...], environment: Mapping[str, str], log: Path, *, speaks: bool = False
) -> AsyncIterator[Process]:
    with log.open("ab") as written:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=PIPE,
            stdout=PIPE if speaks else written,
            stderr=written,
            env=environment,
            cwd=ROOT,
            limit=LINE_BYTES_MAX,
        )
    try:
        yield process
    finally:
        await _stopped(process)


def _tail(log: Path) -> str:
    return log.read_text()[-2_000:]


async def _stopped(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_healthy(url: str, process: Process, log: Path) -> None:
    async with asyncio.timeout(START_S_MAX), aiohttp.ClientSession() as http:
        while process.returncode is None:
            try:
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    raise StartFailed(f"the gateway ended:\n{_tail(log)}")
