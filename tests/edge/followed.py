"""An Envoy that is to follow who is trusted: what it has taken, and a service that it calls or refuses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mesh import tls
from mesh.authority import TRUSTED, Authority, Stage
from mesh.contracts import service_of

# Of content, whom the Envoy calls: how often its certificate was refused, and whether it is called.
REFUSED, WELL = "cluster.content.ssl.fail_verify_error", "cluster.content.membership_healthy"
_FOLLOWED = "ssl_context_update_by_sds"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_GOAWAY = 7


async def step(authority: Authority, folder: Path, stage: Stage, *admins: str) -> None:
    """The next step of a change, to that stage, once these Envoys follow it in all that they do."""
    seen = [await counted(admin, _FOLLOWED) for admin in admins]
    assert all(seen)
    assert authority.step() is stage
    for name in _issued(folder):
        authority.issue(name)
    for admin, counts in zip(admins, seen, strict=True):
        for name, count in counts.items():
            await until(admin, name, count + 1)


def _issued(folder: Path) -> list[str]:
    return [file.stem for file in folder.glob("*.pem") if file.name != TRUSTED]


async def until(admin: str, name: str, count: int) -> None:
    """It has counted so much."""
    async with asyncio.timeout(30):
        while (await counted(admin, name))[name] < count:
            await asyncio.sleep(0.05)


async def counted(admin: str, name: str) -> dict[str, int]:
    """What it counts under names like this."""
    asked = {"format": "json", "filter": name}
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://{admin}/stats", params=asked) as response,
    ):
        found = (await response.json())["stats"]
    return {one["name"]: one["value"] for one in found if "name" in one}


async def calls_content(admin: str, place: str, old: Path, new: Path) -> None:
    """It does where content stands with the new certificate, and does not where with the old one."""
    async with _content(place, old):
        await until(admin, REFUSED, 1)
        assert (await counted(admin, WELL))[WELL] == 0
    async with _content(place, new):
        await until(admin, WELL, 1)


async def is_refused(place: str, context: ssl.SSLContext, name: str) -> bool:
    """Whether who is there, under that name, ends the connection before it says anything of HTTP."""
    try:
        reader, writer = await _connected(place, context, name)
        said = await asyncio.wait_for(reader.read(9), 30)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return True
    return not said


async def until_sent_away(place: str, context: ssl.SSLContext, name: str) -> None:
    """A connection that does nothing wrong is told that it ends."""
    reader, writer = await _connected(place, context, name)
    async with asyncio.timeout(30):
        kind = None
        while kind != _GOAWAY:
            head = await reader.readexactly(9)
            kind = head[3]
            await reader.readexactly(int.from_bytes(head[:3]))
    writer.close()


async def _connected(
    place: str, context: ssl.SSLContext, name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context.set_alpn_protocols(["h2"])
    host, _, port = place.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    writer.write(_PREFACE)
    return reader, writer


@asynccontextmanager
async def _content(place: str, folder: Path) -> AsyncIterator[None]:
    """Well, with the certificate of that folder."""
    server, healths = grpc.aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    await healths.set(service_of("content"), health_pb2.HealthCheckResponse.SERVING)
    server.add_secure_port(place, tls.server_credentials(folder, "content"))
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
