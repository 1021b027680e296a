"""A client that goes away, or has waited long enough, stops what is done for it, and nothing else."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from graphql_gateway import graph
from mesh.http2 import frames
from tests.edge.lone import alone
from tests.gateway.client import WAIT_S, Client
from tests.gateway.world import World, opened, token_of, until

BODY = b'{"query": "{ tip { height } }"}'
QUERY = "{ me { __typename } tip { height } }"
MUTATION = 'mutation { setDisplayName(displayName: "Ada") { id } }'
# Of each, the call that it ends with.
KINDS = {"a query": (QUERY, "GetTip"), "a mutation": (MUTATION, "SetDisplayName")}


@asynccontextmanager
async def held(world: World, method: str) -> AsyncIterator[None]:
    """In the block somebody asks for something that takes long, and goes away: then nobody works on it."""
    world.log.holding[method] = asyncio.Event()
    before = len(world.log.of(method))
    yield
    assert len(world.log.of(method)) == before + 1
    await until(lambda: world.log.given_up[method])


async def asked(world: World, method: str) -> None:
    await until(lambda: world.log.of(method))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_closed_connection_stops_its_calls(world: World, kind: str) -> None:
    text, method = KINDS[kind]
    world.user("ada")
    async with held(world, method):
        async with Client(world.url) as client:
            asking = asyncio.create_task(client.ask(text, token=token_of("ada")))
            await asked(world, method)
            asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_complete_on_a_socket_stops_its_calls(world: World, client: Client, kind: str) -> None:
    text, method = KINDS[kind]
    world.user("ada")
    async with client.socket(token_of("ada")) as socket:
        async with held(world, method):
            await socket.subscribe(text, as_id="1")
            await asked(world, method)
            await socket.send(id="1", type="complete")
        await socket.subscribe("{ __typename }", as_id="2")
        assert (await socket.data()) == {"__typename": "Query"}


async def test_who_stays_is_answered(world: World) -> None:
    """Two ask the same, so it is one call: it goes on for the one that is left."""
    world.user("ada")
    release = world.log.holding["GetTip"] = asyncio.Event()
    async with Client(world.url) as one, Client(world.url) as other:
        leaves, stays = (
            asyncio.create_task(client.ask(QUERY, token=token_of("ada"))) for client in (one, other)
        )
        await asked(world, "GetTip")
        await asyncio.sleep(0.05)
        leaves.cancel()
        await asyncio.sleep(0.05)
        release.set()
        assert (await stays)["tip"] == {"height": 100}


@pytest.mark.parametrize("spoken", ["HTTP/1.1", "HTTP/2"])
async def test_through_the_edge_too(world: World, tmp_path: Path, spoken: str) -> None:
    """Over HTTP/2 the connection stays: only the request is given up."""
    gateway = world.url.removeprefix("http://")
    async with alone(tmp_path / "door", gateway=(gateway,)) as places:
        assert places.http is not None
        host, _, port = places.http.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with held(world, "GetTip"):
            writer.write(_asked_over_2(places.http) if spoken == "HTTP/2" else _asked_over_1(places.http))
            await asked(world, "GetTip")
            if spoken == "HTTP/2":
                writer.write(frames.reset(1))
            else:
                writer.close()
        if spoken == "HTTP/2":
            writer.write(frames.frame(frames.PING, 0, 0, b"stillher"))
            assert await asyncio.wait_for(_until_pong(reader), WAIT_S) == b"stillher"
            writer.close()


def _asked_over_1(host: str) -> bytes:
    head = f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def _asked_over_2(host: str) -> bytes:
    fields = {":method": "POST", ":scheme": "http", ":path": "/graphql", ":authority": host}
    block = b"".join(
        frames.literal(*field) for field in {**fields, "content-type": "application/json"}.items()
    )
    return b"".join(
        (
            frames.PREFACE,
            frames.settings({}),
            frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block),
            frames.frame(frames.DATA, frames.END_STREAM, 1, BODY),
        )
    )


async def _until_pong(reader: asyncio.StreamReader) -> bytes:
    while True:
        head = await reader.readexactly(frames.HEAD_BYTES)
        high, low, kind, flags, _ = struct.unpack(">HBBBI", head)
        payload = await reader.readexactly(high << 8 | low)
        if kind == frames.PING and flags & frames.ACK:
            return payload


async def test_what_is_left_of_an_operations_time_goes_along(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the operation to the service, which tells what it hands on itself; streams have no end."""
    world.user("ada")
    await client.ask(QUERY, token=token_of("ada"))
    monkeypatch.setattr(graph, "QUERY_S", 2.0)
    async with held(world, "GetTip"):
        failure = await client.fail(QUERY, token=token_of("ada"))
    assert failure["code"] == "DEADLINE_EXCEEDED"
    call = world.log.of("GetTip")[-1]
    assert call.left_s is not None
    assert call.left_s < 4.0
    watched = [call.left_s for call in world.log.calls if call.name.startswith("Watch")]
    assert all(left_s is None for left_s in watched)


async def test_a_gateway_that_leaves_says_so_and_answers_on_for_a_while(tmp_path: Path) -> None:
    async with opened(tmp_path) as leaving:
        going = asyncio.ensure_future(leaving.leave(4.0))
        await asyncio.sleep(0)
        # Proxies that ask send nobody any more; who is on the way is served.
        assert (await leaving.client.send("GET", "/healthz")).status == 503
        assert (await leaving.client.ask("{ __typename }"))["__typename"] == "Query"
        await going
        with pytest.raises(aiohttp.ClientError):
            await leaving.client.send("GET", "/healthz")
