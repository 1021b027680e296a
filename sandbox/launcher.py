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
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import tls
from mesh.channel import service_of
from sandbox.binaries import require_programs
from sandbox.edge import Edge
from sandbox.environment import inherited
from sandbox.node import NodePorts, start_node
from sandbox.outside import require_answers
from sandbox.parts import Parts, Progress
from sandbox.process import (
    LOOPBACK,
    require_free_port,
    sole_run,
)
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc
from sandbox.settings import SERVICES, SandboxSettings
from sandbox.valkey import start_valkey
from topology import edge
from topology.parts import PARTS, Backing

# Where `make setup` puts them.
ROOT = Path(__file__).resolve().parents[1]
GRAPHIQL_FILES = ROOT / ".satreel" / "graphiql"
PAGE_FILES = ROOT / ".satreel" / "openapi-page"
DESCRIPTORS = ROOT / "gen" / "descriptors.binpb"
# Of requests, of cost and of log-ins.
CALLS_PER_MIN = 10_000_000
PROBE_TIMEOUT_S = 2.0

# Those that keep feeds, sessions, jobs or limits there.
WITH_REDIS = tuple(part.name for part in PARTS.values() if Backing.REDIS in part.stands_on)


class House:
    """The running mesh. Made by `running`."""

    def __init__(self, settings: SandboxSettings, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.node_url = ""
        self.zmq_endpoint = ""
        # The chain was there before; what this run did comes after.
        self.first_height = 0
        self.rpc: NodeRpc
        self.chain: Regtest
        self._data = settings.data_dir.resolve()
        self.parts = Parts(self._data / "logs", progress)
        self._stack = AsyncExitStack()
        self.edge = Edge(self._edge_places())

    @property
    def url(self) -> str:
        """The edge's address in clear."""
        return f"http://{LOOPBACK}:{self.settings.http_port}"

    @property
    def secure_url(self) -> str:
        """The edge's address with TLS; its certificate is the local authority's."""
        return f"https://localhost:{self.settings.https_port}"

    @property
    def tls_dir(self) -> Path:
        """Folder of the local authority (`ca.pem`) and of everybody's certificates."""
        return self._data / "tls"

    async def start(self, *, admin_addresses: list[str]) -> None:
        """Starts everything and waits until it serves. Raises SandboxFailure, naming what is missing."""
        self._stack.enter_context(sole_run(self._data))
        self._require_ports()
        await asyncio.to_thread(require_programs, self.settings)
        for line in await require_answers(self.settings, os.environ):
            self.progress(line)
        seen = await self._telemetry()
        told = await self._outside_world()
        shared = self._certificates()
        for name in (*SERVICES, "gateway"):
            module = "graphql_gateway" if name == "gateway" else f"services.{name}"
            own = told.get(name, {}) | self._own_environment(name, admin_addresses)
            await self.parts.start(
                name, [sys.executable, "-m", module], inherited(name) | seen | shared | own
            )
        await asyncio.gather(
            *(self.until_serving(name) for name in SERVICES),
            self.parts.until_listening("gateway", self.settings.port("gateway")),
        )
        await self.edge.start(self.parts)

    async def stop(self) -> None:
        """Stops the edge first, then the gateway, then the services, then the outside world."""
        await self.edge.drain()
        await self.parts.stop(("edge", "gateway", *reversed(SERVICES), "aitubo", "explorers", "viewer"))
        await self._stack.aclose()

    def _require_ports(self) -> None:
        for name in (*SERVICES, "content-media", "gateway", "edge-admin"):
            require_free_port(
                self.settings.port(name), part=f"The mesh ({name})", setting="SATREEL_SANDBOX_FIRST_PORT"
            )
        require_free_port(self.settings.http_port, part="The edge", setting="SATREEL_SANDBOX_HTTP_PORT")
        require_free_port(self.settings.https_port, part="The edge", setting="SATREEL_SANDBOX_HTTPS_PORT")

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

    async def _telemetry(self) -> dict[str, str]:
        """What each part is told of where traces and metrics go. On one machine every trace is kept."""
        endpoint = self.settings.otlp_endpoint
        if not endpoint and self.settings.viewer_port:
            endpoint = await self._own_viewer()
        return {"SATREEL_OTLP_ENDPOINT": endpoint, "SATREEL_TRACE_RATIO": "1"} if endpoint else {}

    async def _own_viewer(self) -> str:
        """Starts it; gives where it takes OTLP."""
        port, otlp = self.settings.viewer_port, self.settings.port("viewer-otlp")
        require_free_port(port, part="The viewer", setting="SATREEL_SANDBOX_VIEWER_PORT")
        require_free_port(otlp, part="The viewer (OTLP)", setting="SATREEL_SANDBOX_FIRST_PORT")
        own = {"HTTP_PORT": str(port), "OTLP_PORT": str(otlp), "FILE": str(self._data / "viewer.sqlite")}
        environment = inherited() | {f"SATREEL_VIEWER_{name}": value for name, value in own.items()}
        await self.parts.start("viewer", [sys.executable, "-m", "viewer"], environment)
        await self.parts.until_listening("viewer", port)
        return f"http://{LOOPBACK}:{otlp}"

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
        await self.parts.start(
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
        await self.parts.start(
            "explorers",
            [sys.executable, "-m", "sandbox.explorers"],
            {**inherited(), **{f"SATREEL_SANDBOX_EXPLORERS_{name}": value for name, value in own.items()}},
        )
        await self.parts.until_listening("explorers", port)
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
        folder = self.tls_dir
        authority = tls.Authority.open(folder)
        for name in ("gateway", "edge", "launcher", *SERVICES):
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

    def _edge_places(self) -> edge.Places:
        port, tls_dir = self.settings.port, self.tls_dir
        return edge.Places(
            folder=self._data / "edge",
            https=f"{LOOPBACK}:{self.settings.https_port}",
            http=f"{LOOPBACK}:{self.settings.http_port}",
            admin=f"{LOOPBACK}:{port('edge-admin')}",
            tls=tls_dir,
            site_certificate=tls_dir / "edge.pem",
            site_key=tls_dir / "edge.key",
            descriptors=DESCRIPTORS,
            gateway=(f"{LOOPBACK}:{port('gateway')}",),
            services={name: (f"{LOOPBACK}:{port(name)}",) for name in SERVICES},
            openapi=edge.OPENAPI,
            otlp=f"{LOOPBACK}:{port('viewer-otlp')}" if self.settings.viewer_port else None,
            trace_ratio=1,
            pages=next(PAGE_FILES.glob("swagger-ui-dist@*"), None),
            # Everybody here calls from one address.
            limits=edge.Limits(requests_per_s=CALLS_PER_MIN, requests_at_once=CALLS_PER_MIN),
        )

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
                own["SATREEL_GATEWAY_HTTP_LISTEN"] = f"{LOOPBACK}:{settings.port('gateway')}"
                own["SATREEL_GATEWAY_TRUSTED_PROXIES"] = "1"
                own["SATREEL_GATEWAY_PROFILE"] = "development"
                # Everybody here calls from one address.
                for limit in ("REQUESTS", "ADDRESS_REQUESTS", "COST", "LOG_INS"):
                    own[f"SATREEL_GATEWAY_{limit}_PER_MIN"] = str(CALLS_PER_MIN)
                if GRAPHIQL_FILES.is_dir():
                    own["SATREEL_GATEWAY_GRAPHIQL_FILES"] = str(GRAPHIQL_FILES)
        return own

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

            await self.parts.until(serving, name)


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
        if house.parts.failed.done():
            house.parts.failed.exception()
