"""What differs between the places that an edge runs at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from topology.upstreams import CONNECTION_S

KIB, MIB = 1024, 1024 * 1024
_PAGE = Path(__file__).with_name("page")


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers may ask of the edge. Times are in seconds, sizes in bytes."""

    # All open connections.
    connections: int = 20_000
    # Requests of an address within a second on average, and at once. The gateway counts by the minute.
    requests_per_s: int = 100
    requests_at_once: int = 200
    # Of those, the ones that hold 10,000 bytes or more, or do not say how much: so of all that an address may
    # have under way within `request_s` the edge keeps 160 MiB, however slowly it is sent.
    large_per_s: int = 10
    large_at_once: int = 40
    # And those for the largest that the edge answers by itself, up to 1.5 MB (REST's description, what its
    # page is made of): Envoy keeps all of an answer until it is read, however slowly that is.
    pages_per_s: int = 2
    pages_at_once: int = 20
    # Of a request to REST or GraphQL, which is kept until it is whole. Uploads are passed on as they come:
    # the gateway bounds them, and reads nobody's but an administrator's.
    body_bytes: int = 256 * KIB
    headers_kib: int = 60
    # Of memory, for all connections (an idle WebSocket is some 70 kB) and what their requests hold.
    heap_bytes: int = 2048 * MIB
    # To send the head, and the whole of a request.
    head_s: float = 10
    request_s: float = 60
    # Requests for which nobody has come yet, of each service; beyond them, too many are asked for.
    waiting: int = 500
    # Of a connection without requests, and of a request on which nothing moves.
    idle_s: float = 75
    quiet_s: float = 90
    # Of any connection: clients connect anew so often, with the certificates of then. What runs, ends.
    connection_s: float = CONNECTION_S


@dataclass(frozen=True, slots=True)
class Places:
    """Where an edge listens, whom it calls, and where its files are. Addresses are HOST:PORT."""

    # Folder of the files that `files` makes.
    folder: Path
    https: str
    # Clear text, for loopback alone; None: none.
    http: str | None
    # Envoy's own pages: loopback alone.
    admin: str
    # Folder with `edge.pem`, `edge.key` and `ca.pem`: who the edge is in the mesh, and whom it believes.
    tls: Path
    # What browsers are shown.
    site_certificate: Path
    site_key: Path
    # The contracts, compiled (gen/descriptors.binpb).
    descriptors: Path
    # Instances of the gateway, and of each service.
    gateway: tuple[str, ...]
    services: Mapping[str, tuple[str, ...]]
    # The description of REST, and the folder with Swagger UI's files for its page; None: no page.
    openapi: Path
    pages: Path | None = None
    # The page itself.
    page: Path = _PAGE
    # Folder of the address lists, which are the operator's; None: that of the other files.
    addresses: Path | None = None
    # Pages of these origins, as browsers write them ("https://satreel.example"), may use REST; "*": all. What
    # the gateway's ALLOWED_ORIGINS is for GraphQL, and to be the same.
    allowed_origins: tuple[str, ...] = ()
    # Instances of content, where AITubo fetches pictures by signed links; none: it does so elsewhere.
    pictures: tuple[str, ...] = ()
    # Whether the gateway's instances are reached by mTLS, at their sidecars.
    gateway_has_sidecar: bool = False
    # Where others ask whether it is ready and what it counts (topology.monitor); None: nowhere.
    monitor: str | None = None
    # Proxies of ours before it that add to X-Forwarded-For: the client is who the farthest of them names.
    proxies_before: int = 0
    # Collector of traces; None: none are made here. Of those that begin here this part is kept; of those that
    # come in, whoever began them decides.
    otlp: str | None = None
    trace_ratio: float = 0.05
    # Of the others is told what failed, or was slower to be answered; as SATREEL_TRACE_SLOW_S of the parts.
    trace_slow_s: float = 0.5
    limits: Limits = field(default_factory=Limits)
