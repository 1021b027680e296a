"""What passes the edge as something else than it is: it must not pass by who would have asked who comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.edge.lone import alone, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

METHOD = "/satreel.chain.v1.ChainService/GetTip"
SOCKET = {"Connection": "Upgrade", "Upgrade": "websocket"}
GRPC = {"Content-Type": "application/grpc", "TE": "trailers"}


@asynccontextmanager
async def anything(reached: list[str]) -> AsyncIterator[str]:
    """A gateway that lets whatever reaches it become a WebSocket, and keeps where it was; its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/healthz" or "Upgrade" in request.headers:
            reached.append(request.path)
        if "Upgrade" not in request.headers:
            return web.Response()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    async with serving(web.route("*", "/{path:.*}", answer)) as place:
        yield place


async def test_graphql_alone_becomes_a_websocket(tmp_path: Path) -> None:
    reached: list[str] = []
    async with (
        anything(reached) as behind,
        alone(tmp_path, gateway=(behind,), pictures=(behind,)) as at,
        aiohttp.ClientSession(f"http://{at.http}") as client,
    ):
        for path in (METHOD, "/v1/blocks/tip", "/pictures/a", "/media/a", "/healthz", "/graphql/stream"):
            for method, more in (("GET", {}), ("POST", GRPC)):
                async with client.request(method, path, headers={**SOCKET, **more}) as answer:
                    told = answer.status, answer.headers.get("grpc-status")
                    assert told in {(403, None), (200, "7")}, path
        assert not reached
        socket = await client.ws_connect("/graphql")
        await socket.close()
        assert reached == ["/graphql"]


async def test_rest_is_no_way_for_grpc(tmp_path: Path) -> None:
    reached: list[str] = []
    async with (
        anything(reached) as behind,
        alone(tmp_path, gateway=(behind,)) as at,
        aiohttp.ClientSession(f"http://{at.http}") as client,
    ):
        async with client.post("/v1/blocks/tip", headers=GRPC) as answer:
            assert answer.headers["grpc-status"] == "12"
        assert not reached
        async with client.get("/v1/blocks/tip") as answer:
            assert answer.status == 503, "nobody is there, but this is the way"
        assert reached == ["/authorize/v1/blocks/tip"]


async def test_uploads_are_passed_on_as_they_come(tmp_path: Path) -> None:
    """What the gateway refuses by its head alone is not kept until it is whole."""
    head = (
        "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=b"
    )
    reached: list[str] = []
    async with anything(reached) as behind, alone(tmp_path, gateway=(behind,)) as at:
        host, _, port = str(at.http).partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"{head}\r\n\r\n--b".encode())
        assert (await asyncio.wait_for(reader.readline(), 30)).split()[1] == b"200"
        writer.close()
    assert reached == ["/graphql"]
