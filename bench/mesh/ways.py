"""The calls that are measured, without and with what stands between caller and service."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc
from satreel.rounds.v1 import rounds_service_pb2 as pb
from satreel.rounds.v1.rounds_service_pb2_grpc import RoundsServiceStub

from bench.gateway.load import asked, request_of
from bench.gateway.operations import ACCOUNT, ROUND, Operation
from bench.gateway.serving import GATEWAY as GATEWAY_SERVER
from bench.mesh.load import CALLER, Call, Way
from bench.mesh.site import CALLED, Site
from mesh import tls
from mesh.channel import connect
from topology.parts import EDGE, GATEWAY

STRAIGHT = "straight"
REQUEST = pb.GetCurrentRoundRequest()
_REST = b"GET /v1/rounds/current HTTP/1.1\r\nhost: edge\r\naccept: application/json\r\n\r\n"
READ = "gRPC: the current round"
GRAPHQL = {f"GraphQL: {operation.name}": operation for operation in (ROUND, ACCOUNT)}


def by_the_edge(site: Site) -> list[Way]:
    """GraphQL, REST and gRPC: to who answers, and by the edge."""
    edge, gateway, service = site.pid(EDGE), site.pid(GATEWAY), site.pid("service")
    ways = []
    for name, operation in GRAPHQL.items():
        behind = {GATEWAY: gateway}
        ways += [
            Way(name, STRAIGHT, _http(site.gateway, request_of(operation, GATEWAY_SERVER)), behind),
            Way(name, "by the edge", _graphql(site.edge_http, operation), {EDGE: edge, **behind}, STRAIGHT),
            Way(
                name,
                "by the edge, TLS",
                _graphql(site.edge_https, operation, _browser(site)),
                {EDGE: edge, **behind},
                STRAIGHT,
            ),
        ]
    all_three = {EDGE: edge, GATEWAY: gateway, "service": service}
    return [
        *ways,
        Way(READ, f"{STRAIGHT}, mTLS", _grpc(site, site.service), {"service": service}),
        Way(READ, "by the edge", _grpc(site, site.edge_https, edge=True), {EDGE: edge, "service": service},
            f"{STRAIGHT}, mTLS"),
        Way(READ, "REST by the edge", _http(site.edge_http, _REST), all_three, f"{STRAIGHT}, mTLS"),
    ]  # fmt: skip


def by_sidecars(site: Site) -> list[Way]:
    """A service calls another on a channel of the mesh: by mTLS of its own, and by two sidecars."""
    own, name = {CALLER: os.getpid()}, "service to service: the current round"
    straight = "mTLS of its own"
    behind = {
        "outbound": site.pid("outbound"),
        "inbound": site.pid("inbound"),
        "service": site.pid("service behind"),
    }
    return [
        Way(name, straight, _channel(site, site.service), {**own, "service": site.pid("service")}),
        Way(
            name,
            "by two sidecars",
            _channel(site, site.by_sidecars, behind=True),
            {**own, **behind},
            straight,
        ),
    ]


def traced(sites: dict[str, Site]) -> list[Way]:
    """The same by the edge of each site, whose traces are what differs; the first is the one without."""
    ways = []
    without, *_ = sites
    for name, site in sites.items():
        edge, gateway, service = site.pid(EDGE), site.pid(GATEWAY), site.pid("service")
        base = None if name == without else without
        ways += [
            Way(
                f"{call}, by the edge",
                name,
                _graphql(site.edge_http, operation),
                {EDGE: edge, GATEWAY: gateway},
                base,
            )
            for call, operation in GRAPHQL.items()
        ]
        ways.append(
            Way(
                f"{READ}, by the edge",
                name,
                _grpc(site, site.edge_https, edge=True),
                {EDGE: edge, "service": service},
                base,
            )
        )
    return sorted(ways, key=lambda way: way.call)


def _browser(site: Site) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(site.tls_dir / "ca.pem"))


def _graphql(
    address: str, operation: Operation, secure: ssl.SSLContext | None = None
) -> Callable[[], AbstractAsyncContextManager[Call]]:
    return _http(address, request_of(operation, GATEWAY_SERVER), secure)


def _http(
    address: str, request: bytes, secure: ssl.SSLContext | None = None
) -> Callable[[], AbstractAsyncContextManager[Call]]:
    host, _, port = address.rpartition(":")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Call]:
        name = "localhost" if secure else None
        reader, writer = await asyncio.open_connection(host, int(port), ssl=secure, server_hostname=name)
        try:
            yield lambda: asked(request, reader, writer)
        finally:
            writer.close()

    return opened


def _grpc(site: Site, address: str, *, edge: bool = False) -> Callable[[], AbstractAsyncContextManager[Call]]:
    """By grpc.aio as it comes, as a team would."""
    expected = EDGE if edge else CALLED
    options = [
        ("grpc.ssl_target_name_override", tls.host_name(expected)),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    credentials = tls.channel_credentials(site.tls_dir, GATEWAY)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Call]:
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            stub = RoundsServiceStub(channel)
            yield lambda: stub.GetCurrentRound(REQUEST, timeout=5)

    return opened


def _channel(
    site: Site, address: str, *, behind: bool = False
) -> Callable[[], AbstractAsyncContextManager[Call]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Call]:
        async with connect(
            me=GATEWAY, peer=CALLED, addresses=address, tls_dir=site.tls_dir, behind_sidecar=behind
        ) as channel:
            stub = RoundsServiceStub(channel)
            yield lambda: stub.GetCurrentRound(REQUEST)

    return opened
