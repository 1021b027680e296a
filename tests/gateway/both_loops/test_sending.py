"""A socket without a gateway: what it is given to send arrives, is refused, or fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from graphql_gateway.edge.operations import ClientGone
from graphql_gateway.edge.transport import Limits, WebSocket
from tests.gateway.both_loops.peers import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Peer,
    closing,
    frame,
)
from tests.gateway.client import WAIT_S
from tests.gateway.world import until


class Heard(WebSocket):
    """A socket that keeps what it hears."""

    __slots__ = ("has_ended", "messages")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.messages: list[str | bytes] = []
        self.has_ended = False

    def ended(self) -> None:
        self.has_ended = True

    def received(self, message: str | bytes) -> None:
        self.messages.append(message)


class _Takes(asyncio.Protocol):
    def __init__(self, heard: list[Heard], limits: Limits) -> None:
        self._heard, self._limits = heard, limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        heard = Heard(self._limits)
        transport.set_protocol(heard)
        heard.begin(transport, b"", b"")  # type: ignore[arg-type] # of TCP
        self._heard.append(heard)


@asynccontextmanager
async def pair(**limits: Any) -> AsyncIterator[tuple[Heard, Peer]]:
    """A socket without a gateway, and its peer."""
    heard: list[Heard] = []
    given = Limits(**{"message_bytes_max": 1 << 20, "send_s": 60.0, "ping_s": 60.0, **limits})
    server = await asyncio.get_running_loop().create_server(lambda: _Takes(heard, given), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await until(lambda: heard)
    try:
        yield heard[0], Peer(reader, writer)
    finally:
        writer.transport.abort()
        await heard[0].gone()
        server.close()


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536, 200_000])
async def test_what_is_offered_arrives_whole(length: int) -> None:
    async with pair() as (socket, reader):
        message = b"x" * length
        assert socket.offer(message)
        assert await reader.frame() == (TEXT, message)


async def test_an_offer_is_refused_while_much_waits() -> None:
    async with pair() as (socket, reader):
        reader.stop_reading()
        taken = 0
        while socket.offer(b"x" * 10_000):
            taken += 1
            await asyncio.sleep(0)
        waiting = [asyncio.create_task(socket.drained()) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        # One that gives up takes nothing from the others.
        waiting[0].cancel()
        reader.go_on_reading()
        for _ in range(taken):
            assert (await reader.frame()) == (TEXT, b"x" * 10_000)
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*waiting[1:])
        assert socket.offer(b"again")
        assert await reader.frame() == (TEXT, b"again")


async def test_after_its_end_nothing_is_written() -> None:
    async with pair() as (socket, reader):
        socket.end(1001, "\u00e9" * 100)
        assert not socket.offer(b"late")
        with pytest.raises(ClientGone):
            await socket.send(b"late")
        with pytest.raises(ClientGone):
            await socket.drained()
        socket.end(1000, "again")
        await reader.send(frame(TEXT, b"late"), frame(PING, b"still there"))
        assert await reader.frame() == (CLOSE, b"\x03\xe9" + ("\u00e9" * 61).encode())
        assert await reader.frame() == (PONG, b"still there")
        await reader.send(closing(1001))
        await reader.ended()
        await socket.gone()
        assert not socket.messages


async def test_who_waits_hears_that_the_client_went() -> None:
    async with pair() as (socket, reader):
        reader.stop_reading()
        while socket.offer(b"x" * 10_000):
            await asyncio.sleep(0)
        waiting = asyncio.create_task(socket.drained())
        await asyncio.sleep(0)
        reader.writer.transport.abort()
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(ClientGone):
                await waiting


async def test_who_sends_hears_of_a_break_after_the_conversation() -> None:
    """It knows then that the line broke, rather than that the client left."""
    async with pair() as (socket, _):
        socket._transport.abort()
        with pytest.raises(ClientGone):
            await socket.send(b"late")
        assert socket.has_ended
        assert socket.is_broken


async def test_who_takes_nothing_for_too_long_is_dropped() -> None:
    async with pair(send_s=0.1) as (socket, reader):
        reader.stop_reading()
        while socket.offer(b"x" * 10_000):
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(ClientGone):
                await socket.drained()
            await socket.gone()


async def test_pings_find_the_dead_and_not_the_quiet() -> None:
    async with pair(ping_s=0.05) as (socket, dead):
        assert await dead.frame() == (PING, b"")
        await dead.ended()
        assert socket.is_lost
    async with pair(ping_s=60.0) as (socket, quiet):
        for _ in range(3):
            # As if it had been.
            quiet_since_s = socket._heard_s = socket._heard_s - 60
            socket._look()
            assert await quiet.frame() == (PING, b"")
            await quiet.send(frame(PONG))
            await until(lambda: socket._heard_s > quiet_since_s)  # noqa: B023 - awaited here
            socket._look()
        assert not socket.is_lost
