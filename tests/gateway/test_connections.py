"""Connections: heads that come in time, how many may be open, how fast they may speak, and that they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from graphql_gateway.safety.pace import Pace
from tests.gateway.client import PROTOCOL, WAIT_S
from tests.gateway.fakes import session_of
from tests.gateway.world import World, opened, token_of

TIP = "{ tip { height } }"


@contextlib.asynccontextmanager
async def connection(world: World) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = yarl.URL(world.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Until the other side closes, even if it does so while more is being sent to it."""
    heard = b""
    async with asyncio.timeout(WAIT_S):
        with contextlib.suppress(ConnectionResetError):
            while some := await reader.read(4096):
                heard += some
    return heard


async def test_a_head_that_does_not_end_is_408(tmp_path: Path) -> None:
    async with opened(tmp_path, head_s=0.2) as world, connection(world) as (reader, writer):
        writer.write(b"POST /graphql HTTP/1.1\r\nHost: gateway\r\n")

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"X-Slow: loris\r\n")
                    await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        answer = await everything(reader)
        dripping.cancel()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"][0]["extensions"]["code"] == "TOO_SLOW"


async def test_a_connection_that_says_nothing_is_closed_without_a_word(tmp_path: Path) -> None:
    async with opened(tmp_path, head_s=0.1) as world, connection(world) as (reader, _):
        assert await everything(reader) == b""


async def test_later_heads_of_a_connection_have_their_time_each(tmp_path: Path) -> None:
    async with opened(tmp_path, head_s=2.0) as world, connection(world) as (reader, writer):
        for pause_s in (0.0, 2.2):
            await asyncio.sleep(pause_s)  # between requests a connection may idle
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(3)
        writer.write(b"GET /healthz HT")
        assert (await everything(reader)).startswith(b"HTTP/1.1 408 ")


async def test_a_body_takes_the_time_that_it_may(tmp_path: Path) -> None:
    async with opened(tmp_path, head_s=2.0) as world, connection(world) as (reader, writer):
        body = json.dumps({"query": TIP}).encode()
        writer.write(
            b"POST /graphql HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        await asyncio.sleep(2.2)
        writer.write(body)
        assert (await everything(reader)).startswith(b"HTTP/1.1 200 ")


async def test_connections_of_an_address_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, connections_per_address_max=2) as world:
        async with world.client.socket(), world.client.socket():
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with world.client.socket():
                    pass
            assert refused.value.status == 429
            events = await world.client.send(
                "POST", json={"query": TIP}, headers={"Accept": "text/event-stream"}
            )
            assert (events.status, events.code) == (429, "TOO_MANY_CONNECTIONS")
        # They are counted as long as they are open.
        async with world.client.socket(), world.client.socket():
            pass


async def test_connections_of_a_user_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, connections_per_user_max=1) as world:
        world.user("ada")
        world.user("bob")
        async with (
            world.client.socket(token_of("ada")),
            world.client.socket(token_of("bob")),
            world.client.socket(ack=False) as third,
        ):
            await third.send(type="connection_init", payload={"authorization": f"Bearer {token_of('ada')}"})
            code, reason = await third.closed()
            assert code == 1008
            assert "as may be" in reason
        async with world.client.socket(token_of("ada")):
            pass


async def test_a_socket_that_says_too_much_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path, messages_per_s=1) as world, world.client.socket() as socket:
        for _ in range(25):
            await socket.send(type="pong")
        assert await socket.closed() == (1008, "More than 1 messages a second")


def test_a_pace_is_kept_over_any_time() -> None:
    now_s = 0.0
    pace = Pace(100, lambda: now_s)
    steps = 0
    for tick in range(10_000):
        now_s = tick / 1_000
        steps += pace.allows_step()
    assert 1_190 <= steps <= 1_201


async def test_the_sockets_of_a_session_end_at_once_a_thousand_of_them(tmp_path: Path) -> None:
    sockets = 1_000
    many: dict[str, Any] = dict.fromkeys(
        ("connections_per_user_max", "connections_per_address_max"), 2 * sockets
    )
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        opened(tmp_path, **many) as world,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        ada = world.user("ada")
        world.user("bob")

        async def connect(name: str) -> aiohttp.ClientWebSocketResponse:
            ws = await http.ws_connect(f"{world.url}/graphql", protocols=[PROTOCOL])
            init = {"type": "connection_init", "payload": {"authorization": f"Bearer {token_of(name)}"}}
            await ws.send_str(json.dumps(init))
            await ws.receive()
            return ws

        other = await connect("bob")
        opened_sockets = []
        for _ in range(sockets // 100):
            opened_sockets += await asyncio.gather(*(connect("ada") for _ in range(100)))
        world.revocations.tell(session_of(ada))
        async with asyncio.timeout(WAIT_S):
            closed = await asyncio.gather(*(ws.receive() for ws in opened_sockets))
        assert {message.data for message in closed} == {4403}
        await other.ping()
        assert not other.closed
        await asyncio.gather(*(ws.close() for ws in (*opened_sockets, other)))


async def test_a_compressed_body_is_not_opened(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        bomb = zlib.compress(b" " * 50_000_000)
        assert len(bomb) < 100_000
        for coding in ("gzip", "deflate", "br", "zstd"):
            headers = {"Content-Type": "application/json", "Content-Encoding": coding}
            answer = await world.client.send("POST", data=bomb, headers=headers)
            assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert not world.log.calls


async def test_compressed_messages_are_not_agreed_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as world, world.client.socket(compress=15) as socket:
        assert not socket.ws.compress
