"""The processes of a run: services, a gateway, the edge before them, sidecars between caller and service."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.operations import ALL
from bench.gateway.serving import UNBOUNDED
from graphql_gateway.services import Services
from mesh import tls
from mesh.authority import Authority
from sandbox.edge import Edge
from sandbox.environment import inherited
from sandbox.parts import Parts
from sandbox.process import LOOPBACK, free_port
from sandbox.sidecar import Sidecar
from sandbox.valkey import running_valkey
from topology import edge, sidecar
from topology.calls import called_by
from topology.comments import DESCRIPTORS
from topology.parts import EDGE, GATEWAY, SERVICES

CALLED = "rounds"
NO_LIMIT = 1_000_000_000


def _place() -> str:
    return f"{LOOPBACK}:{free_port()}"


def _silent(_line: str) -> None:
    """Nobody reads how it starts."""


@dataclass(slots=True)
class Site:
    """All of it; addresses are HOST:PORT."""

    folder: Path
    parts: Parts
    # Part of the traces that is kept; None: none are made.
    traced: float | None = None
    gateway: str = ""
    # By mTLS, without a sidecar; and behind the two sidecars, where the caller finds it in clear.
    service: str = ""
    by_sidecars: str = ""
    edge_https: str = ""
    edge_http: str = ""
    otlp: str = ""

    @property
    def tls_dir(self) -> Path:
        """Folder of the authority, and of everybody's certificates."""
        return self.folder / "tls"

    def pid(self, name: str) -> int:
        """The id of a process."""
        child = self.parts.running[name].child
        assert child is not None
        return child.process.pid

    def environment(self, part: str) -> dict[str, str]:
        """What a program of ours is told, whichever it is."""
        _, public_key = tls.make_user_token_keys(self.tls_dir)
        told = {
            "SATREEL_USER_TOKEN_KEY": str(public_key),
            "SATREEL_DATA_DIR": str(self.folder),
            "SATREEL_DRAIN_S": "0",
            "SATREEL_STOP_GRACE_S": "1",
            "SATREEL_LOG_LEVEL": "error",
        }
        if self.traced is not None:
            told |= {"SATREEL_OTLP_ENDPOINT": f"http://{self.otlp}", "SATREEL_TRACE_RATIO": str(self.traced)}
        return inherited(part) | told

    async def start_service(self, name: str, **settings: str) -> str:
        """A process with the services of the benchmark; where it listens."""
        private_key, _ = tls.make_user_token_keys(self.tls_dir)
        address = _place()
        command = [sys.executable, "-m", "bench.mesh.service", str(private_key)]
        own = {"SATREEL_LISTEN": address, **settings}
        await self.parts.start(name, command, self.environment(CALLED) | own)
        await self.parts.until_listening(name, _port(address))
        return address

    async def start_gateway(self, redis_url: str) -> None:
        """The gateway as in production, that knows the documents by name."""
        clear = await self.start_service("services")
        manifest = self.folder / "documents.json"
        manifest.write_text(json.dumps({operation.sha256: operation.document for operation in ALL}))
        self.gateway = _place()
        own = UNBOUNDED | {
            "SATREEL_PEERS": json.dumps(dict.fromkeys(Services.__slots__, clear)),
            "SATREEL_REDIS_URL": redis_url,
            "SATREEL_GATEWAY_HTTP_LISTEN": self.gateway,
            "SATREEL_GATEWAY_TRUSTED_PROXIES": "1",
            "SATREEL_GATEWAY_TRUSTED_DOCUMENTS": json.dumps([str(manifest)]),
        }
        command = [sys.executable, "-m", "graphql_gateway"]
        await self.parts.start(GATEWAY, command, self.environment(GATEWAY) | own)
        await self.parts.until_listening(GATEWAY, _port(self.gateway))

    async def start_edge(self) -> None:
        """Before the gateway and the service."""
        nobody = (_place(),)
        self.edge_https, self.edge_http = _place(), _place()
        places = edge.Places(
            folder=self.folder / EDGE,
            https=self.edge_https,
            http=self.edge_http,
            admin=_place(),
            tls=self.tls_dir,
            site_certificate=self.tls_dir / f"{EDGE}.pem",
            site_key=self.tls_dir / f"{EDGE}.key",
            descriptors=DESCRIPTORS,
            gateway=(self.gateway,),
            services=dict.fromkeys(SERVICES, nobody) | {CALLED: (self.service,)},
            openapi=edge.OPENAPI,
            otlp=self.otlp if self.traced is not None else None,
            trace_ratio=self.traced or 0,
            limits=edge.Limits(requests_per_s=NO_LIMIT, requests_at_once=NO_LIMIT),
        )
        await Edge(places).start(self.parts)

    async def start_sidecars(self) -> None:
        """The caller's, which is the gateway's, and a service behind its own."""
        application = await self.start_service("service behind", SATREEL_BEHIND_SIDECAR="true")
        listen = _place()
        peers = {name: sidecar.Peer(_place(), (_place(),)) for name in called_by(GATEWAY)}
        peers[CALLED] = sidecar.Peer(_place(), (listen,))
        await self._sidecar("inbound", CALLED, application, listen, {})
        await self._sidecar("outbound", GATEWAY, _place(), _place(), peers)
        self.by_sidecars = peers[CALLED].listen

    async def _sidecar(
        self, name: str, part: str, application: str, listen: str, peers: dict[str, sidecar.Peer]
    ) -> None:
        places = sidecar.Places(
            part=part,
            folder=self.folder / name,
            listen=listen,
            application=application,
            peers={peer: peers.get(peer, sidecar.Peer(_place(), (_place(),))) for peer in called_by(part)},
            admin=_place(),
            tls=self.tls_dir,
            otlp=self.otlp if self.traced is not None else None,
        )
        await Sidecar(name, places).start(self.parts)


@asynccontextmanager
async def standing(
    folder: Path, *, traced: float | None = None, sidecars: bool = False
) -> AsyncIterator[Site]:
    """Everything running, for the length of a `with` block."""
    site = Site(folder, Parts(folder / "logs", _silent), traced)
    authority = Authority.open(site.tls_dir)
    for name in (EDGE, GATEWAY, *SERVICES):
        authority.issue(name)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_stop, site.parts)
        if traced is not None:
            site.otlp = _place()
            port = str(_port(site.otlp))
            await site.parts.start("sink", [sys.executable, "-m", "bench.mesh.sink", port], inherited())
            await site.parts.until_listening("sink", int(port))
        valkey = await stack.enter_async_context(running_valkey(folder / "valkey", free_port()))
        site.service = await site.start_service("service", SATREEL_TLS_DIR=str(site.tls_dir))
        await site.start_gateway(valkey.url)
        await site.start_edge()
        if sidecars:
            await site.start_sidecars()
        yield site


async def _stop(parts: Parts) -> None:
    await parts.stop([tuple(parts.running)])
    if parts.failed.done():
        parts.failed.exception()
    await asyncio.sleep(0)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
