"""An Envoy at the door of nobody, or of what a test puts behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from mesh.authority import Authority
from sandbox.edge import Edge
from sandbox.parts import Parts
from sandbox.process import LOOPBACK, free_port
from topology import edge
from topology.comments import DESCRIPTORS
from topology.parts import SERVICES


@asynccontextmanager
async def alone(folder: Path, **places: Any) -> AsyncIterator[edge.Places]:
    """`places` says what differs; services that it does not name are nobody."""
    authority = Authority.open(folder / "tls")
    for name in ("edge", *SERVICES):
        authority.issue(name)
    nobody = (f"{LOOPBACK}:{free_port()}",)
    https, http, admin, monitor = (f"{LOOPBACK}:{free_port()}" for _ in range(4))
    told: dict[str, Any] = {
        "folder": folder / "edge",
        "https": https,
        "http": http,
        "admin": admin,
        "monitor": monitor,
        "tls": folder / "tls",
        "site_certificate": folder / "tls" / "edge.pem",
        "site_key": folder / "tls" / "edge.key",
        "descriptors": DESCRIPTORS,
        "gateway": nobody,
        "openapi": edge.OPENAPI,
        **places,
        "services": dict.fromkeys(SERVICES, nobody) | places.get("services", {}),
    }
    found = edge.Places(**told)
    parts = Parts(folder / "logs", print)
    try:
        await Edge(found).start(parts)
        yield found
    finally:
        await parts.stop([["edge"]])


@asynccontextmanager
async def gateway(heard: list[str]) -> AsyncIterator[str]:
    """Somebody behind the edge who keeps what each request says of its trace; its address."""

    async def answer(request: web.Request) -> web.Response:
        heard.append(request.headers.get("traceparent", ""))
        return web.Response()

    async with serving(web.post("/graphql", answer)) as place:
        yield place


@asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[str]:
    """Somebody who answers these over HTTP; the address."""
    application = web.Application()
    application.router.add_routes(routes)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        yield f"{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
