"""Peers that send much, or take nothing: the gateway keeps little of it, and serves others meanwhile."""

from __future__ import annotations

import asyncio
import gc
import json
import types

import pytest
from websockets.frames import Frame
from websockets.protocol import Protocol
from websockets.streams import StreamReader

from graphql_gateway.edge import sockets, transport
from graphql_gateway.edge.sockets import Socket
from tests.gateway.both_loops.peers import (
    PING,
    PONG,
    TEXT,
    frame,
    peer,
    the_socket,
)
from tests.gateway.world import World, token_of, until


async def test_who_takes_nothing_is_not_listened_to(world: World) -> None:
    """A flood of pings would fill our memory with pongs."""
    async with peer(world.url) as deaf:
        deaf.stop_reading()
        socket = the_socket()
        flood = asyncio.create_task(deaf.send(frame(PING, b"x" * 125) * 100_000))
        await until(lambda: not socket._is_taken)
        assert not socket._is_reading
        assert not socket.tell("1", b"{}")
        waiting = socket._transport.get_write_buffer_size()
        assert waiting < transport.WAITING_BYTES_MAX + 2 * transport.SLICE_BYTES
        # The kernels between us may have taken all of it.
        flood.cancel()


async def test_many_frames_leave_others_their_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "TURN_S", 0)
    turns = 0
    is_over = False

    def count() -> None:
        nonlocal turns
        turns += 1
        if not is_over:
            asyncio.get_running_loop().call_soon(count)

    async with peer(world.url) as busy:
        socket = the_socket()
        flood = frame(PONG) * 20_000
        count()
        socket.data_received(flood)
        before = turns
        await until(lambda: not socket._unread)
        is_over = True
        assert turns - before >= len(flood) // transport.SLICE_BYTES
        await busy.send(frame(PING))
        assert await busy.frame() == (PONG, b"")


async def test_who_sends_much_meanwhile_waits(world: World) -> None:
    """Messages behind one that takes long are not gathered without end."""
    held_back = world.log.holding["Authenticate"] = asyncio.Event()
    payload = {"authorization": f"Bearer {token_of('ada')}"}
    world.user("ada")
    async with peer(world.url, ack=False) as eager:
        socket = the_socket()
        await eager.send(frame(TEXT, json.dumps({"type": "connection_init", "payload": payload}).encode()))
        pong = frame(TEXT, json.dumps({"type": "pong", "payload": {"x": "x" * 50_000}}).encode())
        sending = asyncio.create_task(eager.send(*[pong] * 150))
        await until(lambda: not socket._is_reading)
        await asyncio.sleep(0.2)
        assert sum(map(len, socket._inbox)) < sockets.INBOX_BYTES_MAX + 2 * len(pong)
        assert not sending.done()
        held_back.set()
        assert await eager.message() == {"type": "connection_ack"}
        await sending
        await eager.send(frame(TEXT, b'{"type": "ping"}'))
        assert await eager.message() == {"type": "pong"}


async def test_a_large_message_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    takes = Socket.received

    def received(self: Socket, message: str | bytes) -> None:
        heard.append(len(message))
        takes(self, message)

    monkeypatch.setattr(Socket, "received", received)
    large = json.dumps({"type": "pong", "payload": {"x": "x" * 200_000}}).encode()
    async with peer(world.url) as silent:
        await silent.send(frame(TEXT, large), frame(TEXT, b'{"type": "ping"}'), frame(TEXT, large))
        assert await silent.message() == {"type": "pong"}
        socket = the_socket()
        # The introduction is the first.
        await until(lambda: len(heard) == 4 and not socket._unread and socket._answering is None)
        seen = {id(socket)}
        assert bytes_held(socket, seen) < 10_000


def bytes_held(holder: object, seen: set[int]) -> int:
    """Length of all bytes and texts that only the connection's own objects hold."""
    found = 0
    for one in gc.get_referents(holder):
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, bytes | bytearray | str):
            found += len(one)
        elif isinstance(one, Frame | Protocol | StreamReader | list | dict | types.GeneratorType):
            found += bytes_held(one, seen)
    return found
