"""The launcher: starts the outside world and every service as a process of its own, watches and stops them.

Services speak mTLS with certificates of a local authority made under the data folder. What dies is started
again; what keeps dying ends the run with the reason.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import tls
from mesh.channel import service_of
from sandbox.binaries import require_programs
from sandbox.environment import inherited
from sandbox.node import NodePorts, start_node
from sandbox.outside import require_answers
from sandbox.process import (
    LOOPBACK,
    Child,
    SandboxFailure,
    StartFailed,
    require_free_port,
    sole_run,
    start_child,
)
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc
from sandbox.settings import SERVICES, SandboxSettings
from sandbox.valkey import start_valkey

# Where `make setup` puts them.
GRAPHIQL_FILES = Path(__file__).resolve().parents[1] / ".satreel" / "graphiql"
# Of requests, of cost and of log-ins.
CALLS_PER_MIN = 10_000_000
READY_TIMEOUT_S = 60.0
STILL_WAITING_S = 10.0
POLL_S = 0.1
PROBE_TIMEOUT_S = 2.0
STOP_TERM_WAIT_S = 15.0
RESTARTS_MAX = 5
RESTARTS_WINDOW_S = 60.0
RESTART_PAUSE_S = 0.5

# Those that keep feeds, sessions or jobs there.
WITH_REDIS = tuple(name for name in SERVICES if name != "insight")

Progress = Callable[[str], None]


@dataclass(slots=True)
class Part:
    """A process of the mesh: how it is started, and the running one."""

    name: str
    argv: list[str]
    env: dict[str, str]
    child: Child | None = None
    wanted: bool = True
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS_MAX + 1))


class House:
    """The running mesh. Made by `running`."""

    def __init__(self, settings: SandboxSettings, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.parts: dict[str, Part] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.node_url = ""
        self.zmq_endpoint = ""
        # The chain was there before; what this run did comes after.
        self.first_height = 0
        self.rpc: NodeRpc
        self.chain: Regtest
        self._data = settings.data_dir.resolve()
        self._stack = AsyncExitStack()
        self._watchers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://{LOOPBACK}:{self.settings.http_port}"

    def log_path(self, name: str) -> Path:
        """Where a part writes its log."""
        return self._data / "logs" / f"{name}.log"

    async def start(self, *, admin_addresses: list[str]) -> None:
        """Starts everything and waits until it serves. Raises SandboxFailure, naming what is missing."""
        self._stack.enter_context(sole_run(self._data))
        self._require_ports()
        await asyncio.to_thread(require_programs, self.settings)
        for line in await require_answers(self.settings, os.environ):
            self.progress(line)
        told = await self._outside_world()
        shared = self._certificates()
        for name in (*SERVICES, "gateway"):
            module = "graphql_gateway" if name == "gateway" else f"services.{name}"
            own = told.get(name, {}) | self._own_environment(name, admin_addresses)
            await self._start_part(name, [sys.executable, "-m", module], inherited(name) | shared | own)
        await asyncio.gather(
            *(self.until_serving(name) for name in SERVICES),
            self._until_listening("gateway", self.settings.http_port),
        )

    async def stop(self) -> None:
        """Stops the gateway first, then the services, then the outside world; kills what does not listen."""
        for part in self.parts.values():
            part.wanted = False
        for name in ("gateway", *reversed(SERVICES), "aitubo", "explorers"):
            child = self.parts[name].child if name in self.parts else None
            if child is not None:
                await child.stop(STOP_TERM_WAIT_S)
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self._stack.aclose()

    async def kill(self, name: str) -> None:
        """SIGKILL, as a crash would; the launcher starts it again by itself."""
        child = self.parts[name].child
        if child is None or child.exit_code is not None:
            raise SandboxFailure(f"{name} is not running")
        child.process.kill()
        await child.process.wait()

    def _require_ports(self) -> None:
        for name in (*SERVICES, "content-media"):
            require_free_port(
                self.settings.port(name), part=f"The {name} service", setting="SATREEL_SANDBOX_FIRST_PORT"
            )
        require_free_port(self.settings.http_port, part="The gateway", setting="SATREEL_SANDBOX_HTTP_PORT")

    async def _outside_world(self) -> dict[str, dict[str, str]]:
        """Starts what no setting names elsewhere; gives what each service is told of it."""
        redis_url = self.settings.redis_url or await self._own_valkey()
        await self._find_node()
        key = self.settings.aitubo_key.get_secret_value() or secrets.token_hex(16)
        aitubo_url = self.settings.aitubo_url or await self._own_aitubo(key)
        told = {name: {"SATREEL_REDIS_URL": redis_url} for name in WITH_REDIS}
        told["chain"] |= {
            "SATREEL_CHAIN_NODE_URL": self.node_url,
            "SATREEL_CHAIN_NODE_ZMQ": self.zmq_endpoint,
        }
        if self.settings.explorers:
            told["chain"] |= await self._own_explorers()
        told["content"] |= {"SATREEL_CONTENT_AITUBO_URL": aitubo_url, "SATREEL_CONTENT_AITUBO_KEY": key}
        return told

    async def _own_valkey(self) -> str:
        valkey = await start_valkey(self._data / "valkey", self.settings.port("valkey"))
        self._stack.push_async_callback(valkey.stop)
        self.progress(f"Valkey ready after {valkey.started_in_s:.1f} s")
        return valkey.url

    async def _find_node(self) -> None:
        if self.settings.node_url.get_secret_value():
            self.node_url = self.settings.node_url.get_secret_value()
            self.zmq_endpoint = self.settings.node_zmq
        else:
            ports = NodePorts(rpc=self.settings.port("node-rpc"), zmq=self.settings.port("node-zmq"))
            node = await start_node(self._data / "node", ports, progress=self.progress)
            self._stack.push_async_callback(node.stop)
            self.node_url, self.zmq_endpoint = node.url, node.zmq_endpoint
        self.rpc = await self._stack.enter_async_context(NodeRpc(self.node_url))
        self.chain = Regtest(self.rpc)
        self.first_height = await self.chain.height()

    async def _own_aitubo(self, key: str) -> str:
        port = self.settings.port("aitubo")
        require_free_port(port, part="The AITubo stand-in", setting="SATREEL_SANDBOX_FIRST_PORT")
        await self._start_part(
            "aitubo",
            [sys.executable, "-m", "sandbox.aitubo"],
            {
                **inherited(),
                "SATREEL_SANDBOX_AITUBO_KEY": key,
                "SATREEL_SANDBOX_AITUBO_PORT": str(port),
                "SATREEL_SANDBOX_AITUBO_DATA_DIR": str(self._data / "aitubo"),
                "SATREEL_SANDBOX_AITUBO_FILM_SECONDS": str(self.settings.film_s),
            },
        )
        return f"http://{LOOPBACK}:{port}"

    async def _own_explorers(self) -> dict[str, str]:
        """Starts WhatsOnChain and ARC over the node; gives what the chain service is told of them."""
        port, callbacks = self.settings.port("explorers"), self.settings.port("chain-callbacks")
        for needed, part in ((port, "WhatsOnChain's stand-in"), (callbacks, "The chain service (callbacks)")):
            require_free_port(needed, part=part, setting="SATREEL_SANDBOX_FIRST_PORT")
        woc_key, arc_key = secrets.token_hex(16), secrets.token_hex(16)
        own = {"NODE_URL": self.node_url, "PORT": str(port), "WOC_KEY": woc_key, "ARC_KEY": arc_key}
        await self._start_part(
            "explorers",
            [sys.executable, "-m", "sandbox.explorers"],
            {**inherited(), **{f"SATREEL_SANDBOX_EXPLORERS_{name}": value for name, value in own.items()}},
        )
        await self._until_listening("explorers", port)
        place = f"{LOOPBACK}:{port}"
        return {
            "SATREEL_CHAIN_WOC_URL": f"http://{place}/v1/bsv/regtest",
            "SATREEL_CHAIN_WOC_SOCKET": f"ws://{place}/websocket/blockHeaders",
            "SATREEL_CHAIN_WOC_KEY": woc_key,
            "SATREEL_CHAIN_WOC_PER_S": "100",
            "SATREEL_CHAIN_ARC_URL": f"http://{place}/arc",
            "SATREEL_CHAIN_ARC_KEY": arc_key,
            "SATREEL_CHAIN_CALLBACK_LISTEN": f"{LOOPBACK}:{callbacks}",
            "SATREEL_CHAIN_CALLBACK_URL": f"http://{LOOPBACK}:{callbacks}/arc/callbacks",
        }

    def _certificates(self) -> dict[str, str]:
        """Makes them; gives what every part of the mesh is told."""
        folder = self._data / "tls"
        authority = tls.Authority.open(folder)
        for name in ("gateway", "launcher", *SERVICES):
            authority.issue(name)
        _, public_key = tls.make_user_token_keys(folder)
        peers = {name: f"{LOOPBACK}:{self.settings.port(name)}" for name in SERVICES}
        return {
            "SATREEL_TLS_DIR": str(folder),
            "SATREEL_USER_TOKEN_KEY": str(public_key),
            "SATREEL_PEERS": json.dumps(peers),
            "SATREEL_DATA_DIR": str(self._data),
            "SATREEL_DRAIN_S": "0.2",
        }

    def _own_environment(self, name: str, admin_addresses: list[str]) -> dict[str, str]:
        settings, own = self.settings, {}
        if name in SERVICES:
            own[f"SATREEL_{name.upper()}_LISTEN"] = f"{LOOPBACK}:{settings.port(name)}"
        match name:
            case "identity":
                own["SATREEL_IDENTITY_ADMIN_ADDRESSES"] = json.dumps(admin_addresses)
                own["SATREEL_IDENTITY_NETWORK"] = "regtest"
            case "rounds":
                own["SATREEL_ROUNDS_LENGTH_S"] = str(settings.round_s)
                own["SATREEL_ROUNDS_GRACE_S"] = str(settings.grace_s)
            case "content":
                own["SATREEL_CONTENT_MEDIA_LISTEN"] = f"{LOOPBACK}:{settings.port('content-media')}"
            case "chain":
                own["SATREEL_CHAIN_NETWORK"] = "regtest"
                own["SATREEL_CHAIN_BATCH_S"] = "1"
            case "gateway":
                own["SATREEL_GATEWAY_HTTP_LISTEN"] = f"{LOOPBACK}:{settings.http_port}"
                own["SATREEL_GATEWAY_PROFILE"] = "development"
                # Everybody here calls from one address.
                for limit in ("REQUESTS", "ADDRESS_REQUESTS", "COST", "LOG_INS"):
                    own[f"SATREEL_GATEWAY_{limit}_PER_MIN"] = str(CALLS_PER_MIN)
                if GRAPHIQL_FILES.is_dir():
                    own["SATREEL_GATEWAY_GRAPHIQL_FILES"] = str(GRAPHIQL_FILES)
        return own

    async def _start_part(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        part = self.parts[name] = Part(name, argv, env)
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
            await self._spawn(part)

    def _fail(self, part: Part, code: int) -> None:
        tail = part.child.log_tail() if part.child else ""
        problem = StartFailed(
            f"{part.name} ended {RESTARTS_MAX} times within {RESTARTS_WINDOW_S:.0f} s, the last time with "
            f"code {code}. Its log is {self.log_path(part.name)}:\n{tail}"
        )
        if not self.failed.done():
            self.failed.set_exception(problem)

    async def until_serving(self, name: str) -> None:
        """Returns when the service reports SERVING (a leader: once it leads). Raises StartFailed."""
        credentials = tls.channel_credentials(self._data / "tls", "launcher")
        options = [("grpc.ssl_target_name_override", tls.host_name(name))]
        address = f"{LOOPBACK}:{self.settings.port(name)}"
        request = health_pb2.HealthCheckRequest(service=service_of(name))
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined] # its stubs lack it

            async def serving() -> bool:
                try:
                    answer = await check(request, timeout=PROBE_TIMEOUT_S)
                except grpc.aio.AioRpcError:
                    return False
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            await self._until(serving, name)

    async def _until_listening(self, name: str, port: int) -> None:
        async def listening() -> bool:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                return False
            writer.close()
            return True

        await self._until(listening, name)

    async def _until(self, ready: Callable[[], Awaitable[bool]], name: str) -> None:
        begun = told = time.monotonic()
        child = self.parts[name].child
        while (now := time.monotonic()) - begun < READY_TIMEOUT_S:
            if self.failed.done():
                self.failed.result()
            if await ready():
                self.progress(f"{name} serves")
                return
            if now - told > STILL_WAITING_S:
                told = now
                self.progress(f"still waiting for {name}: {_last_line(child)}")
            await asyncio.sleep(POLL_S)
        tail = child.log_tail() if child else ""
        raise StartFailed(f"{name} does not serve after {READY_TIMEOUT_S:.0f} s:\n{tail}")


@asynccontextmanager
async def running(
    settings: SandboxSettings, *, admin_addresses: list[str], progress: Progress
) -> AsyncIterator[House]:
    """The whole mesh for the length of a `with` block. Raises SandboxFailure when it cannot be started."""
    house = House(settings, progress)
    try:
        await house.start(admin_addresses=admin_addresses)
        yield house
    finally:
        await house.stop()
        if house.failed.done():
            house.failed.exception()


def _dies_often(starts: deque[float]) -> bool:
    return len(starts) > RESTARTS_MAX and time.monotonic() - starts[0] < RESTARTS_WINDOW_S


def _last_line(child: Child | None) -> str:
    return (child.log_tail() if child else "").rpartition("\n")[2] or "it has said nothing yet"
