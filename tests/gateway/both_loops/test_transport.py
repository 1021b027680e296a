"""WebSockets as bytes: what the protocol forbids, peers that stop halfway, what a socket leaves behind."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import os
import struct
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yarl
from aiohttp import web
from websockets.frames import Frame
from websockets.protocol import Protocol
from websockets.streams import StreamReader

from graphql_gateway.edge import sockets, transport
from graphql_gateway.edge.heads import TimedHandler
from graphql_gateway.edge.operations import ClientGone
from graphql_gateway.edge.sockets import Socket
from graphql_gateway.edge.transport import Limits, WebSocket
from tests.gateway.client import PROTOCOL, WAIT_S, Client
from tests.gateway.world import World, opened, token_of, until

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FINAL, MASKED = 0x80, 0x80
INIT = b'{"type": "connection_init"}'
ROUND = "subscription { roundUpdated { number } }"


def frame(
    kind: int, payload: bytes = b"", *, final: bool = True, mask: bool = True, reserved: int = 0
) -> bytes:
    head = bytes([(FINAL if final else 0) | reserved << 4 | kind])
    bit, length = MASKED if mask else 0, len(payload)
    if length < 126:
        head += bytes([bit | length])
    elif length < 65_536:
        head += bytes([bit | 126]) + struct.pack(">H", length)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", length)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def closing(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason.encode())


class Peer:
    """A client that writes and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    def stop_reading(self) -> None:
        """What is sent to it from now on stays on the other side."""
        transport: Any = self.writer.transport
        transport.pause_reading()

    def go_on_reading(self) -> None:
        transport: Any = self.writer.transport
        transport.resume_reading()

    async def frame(self) -> tuple[int, bytes]:
        """Kind and payload of the next one."""
        async with asyncio.timeout(WAIT_S):
            first, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def message(self) -> Any:
        kind, payload = await self.frame()
        assert kind == TEXT, (kind, payload)
        return json.loads(payload)

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame that comes next; it is answered, and nothing follows."""
        kind, payload = await self.frame()
        assert kind == CLOSE, (kind, payload)
        await self.send(frame(CLOSE, payload))
        await self.ended()
        return struct.unpack(">H", payload[:2])[0], payload[2:].decode()

    async def ended(self) -> None:
        """Nothing comes but the end."""
        async with asyncio.timeout(WAIT_S):
            assert await self.reader.read() == b""


@asynccontextmanager
async def peer(url: str, *, behind: bytes = b"", ack: bool = True, **headers: str) -> AsyncIterator[Peer]:
    """A client whose handshake was accepted, and by default its connection acknowledged."""
    address = yarl.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = {
        "Host": "gateway",
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "WebSocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": f"other, {PROTOCOL}",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"GET /graphql HTTP/1.1\r\n{head}\r\n".encode() + behind)
    try:
        async with asyncio.timeout(WAIT_S):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        proof = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        assert answer.startswith("HTTP/1.1 101 "), answer
        assert f"Sec-WebSocket-Accept: {base64.b64encode(proof).decode()}\r\n" in answer
        assert f"Sec-WebSocket-Protocol: {PROTOCOL}\r\n" in answer
        assert "RateLimit: " in answer
        opened = Peer(reader, writer)
        if ack:
            await opened.send(frame(TEXT, INIT))
            assert await opened.message() == {"type": "connection_ack"}
        yield opened
    finally:
        writer.transport.abort()


def subscribe(query: str, as_id: str = "1") -> bytes:
    return json.dumps({"id": as_id, "type": "subscribe", "payload": {"query": query}}).encode()


async def test_bad_handshakes_are_refused(client: Client) -> None:
    good = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for status, method, change in (
        (405, "POST", {}),
        (400, "GET", {"Sec-WebSocket-Key": "short"}),
        (400, "GET", {"Sec-WebSocket-Key": "not base64 at all!"}),
        (400, "GET", {"Sec-WebSocket-Version": "8"}),
        (400, "GET", {"Connection": "close"}),
    ):
        answer = await client.send(method, headers=good | change)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
        assert answer.error["message"]


async def test_what_comes_with_the_handshake_is_heard(world: World) -> None:
    async with peer(world.url, behind=frame(TEXT, INIT) + frame(PING, b"early")[:3], ack=False) as early:
        assert await early.message() == {"type": "connection_ack"}


async def test_a_frame_in_single_bytes(world: World) -> None:
    number = world.round().number
    async with peer(world.url) as slow:
        for byte in frame(TEXT, subscribe(ROUND)):
            await slow.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await slow.message())["payload"] == {"data": {"roundUpdated": {"number": number}}}


async def test_a_message_in_ten_thousand_fragments(world: World) -> None:
    message = subscribe("{ metrics { name } }" + " " * 10_000)
    fragments = [frame(CONT, message[at : at + 1], final=False) for at in range(1, len(message))]
    fragments[100:100] = [frame(CONT, final=False)] * 500
    async with peer(world.url) as chopped:
        await chopped.send(frame(TEXT, message[:1], final=False), *fragments, frame(PING, b"between"))
        # What controls the connection comes between fragments.
        assert await chopped.frame() == (PONG, b"between")
        await chopped.send(frame(CONT))
        assert "metrics" in (await chopped.message())["payload"]["data"]


FORBIDDEN = {
    "not masked": (frame(TEXT, INIT, mask=False), 1002),
    "reserved bits": (frame(TEXT, INIT, reserved=4), 1002),
    "no such kind": (frame(3, INIT), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a ping in fragments": (frame(PING, final=False), 1002),
    "a fragment of nothing": (frame(CONT, b"x"), 1002),
    "a message within another": (frame(TEXT, b"{", final=False) + frame(TEXT, b"}"), 1002),
    "a close code that is never sent": (closing(1005), 1002),
    "half a close code": (frame(CLOSE, b"\x03"), 1002),
    "bad UTF-8": (frame(TEXT, b'{"type": "\xff"}'), 1007),
    "bad UTF-8 across fragments": (frame(TEXT, b"\xe2\x82", final=False) + frame(CONT, b"\x28"), 1007),
    "bad UTF-8 in a reason": (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
    "a message too large": (frame(TEXT, b" " * 262_145), 1009),
    "a size beyond sense": (bytes([FINAL | TEXT, MASKED | 127]) + b"\x7f" + b"\xff" * 7, 1009),
    "fragments too large": (
        frame(TEXT, b" " * 200_000, final=False) + frame(CONT, b" " * 62_145, final=False),
        1009,
    ),
    "binary": (frame(BINARY, INIT), 4400),
}


async def test_what_is_forbidden_closes_and_the_client_is_told(world: World) -> None:
    for name, (sent, code) in FORBIDDEN.items():
        async with peer(world.url) as wrong:
            # More behind it neither helps nor hides the reason.
            await wrong.send(sent, frame(TEXT, subscribe("{ metrics { name } }")))
            assert (await wrong.closed())[0] == code, name


async def test_the_client_closes(world: World) -> None:
    world.round()
    for told, answered in ((closing(1000, "bye"), closing(1000, "bye")), (frame(CLOSE), frame(CLOSE))):
        async with peer(world.url) as leaving:
            await leaving.send(frame(TEXT, subscribe(ROUND)))
            await leaving.message()
            await leaving.send(told)
            kind, payload = await leaving.frame()
            assert (kind, len(payload)) == (CLOSE, len(answered) - 6)
            await leaving.ended()
        await until(lambda: not world.live.rounds.subscribers)


async def test_who_does_not_answer_a_close_is_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CLOSE_S", 0.2)
    async with peer(world.url) as silent:
        await silent.send(frame(TEXT, b"nonsense"))
        assert await silent.frame() == (CLOSE, b"\x11\x30A message must be JSON")
        # Neither messages nor pings count for an answer.
        await silent.send(frame(TEXT, subscribe(ROUND)), frame(PING))
        with pytest.raises((ConnectionError, AssertionError)):
            await silent.frame()
            await silent.ended()
            raise ConnectionError
    await until(lambda: not held(Socket))


async def test_who_hangs_up_halfway_is_gone(world: World) -> None:
    """It wrote its last, and would read on: without a close frame that is no WebSocket any more."""
    world.round()
    async with peer(world.url) as half:
        await half.send(frame(TEXT, subscribe(ROUND)))
        await half.message()
        half.writer.write_eof()
        await half.ended()
        await until(lambda: not world.live.rounds.subscribers)


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
        assert not flood.done()
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


class Heard(WebSocket):
    """A socket that keeps what it hears."""

    __slots__ = ("messages",)

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.messages: list[str | bytes] = []

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


def the_socket() -> Socket:
    """The only one that is open."""
    (found,) = [one for one in held(Socket) if not one.is_lost]
    assert isinstance(found, Socket)
    return found


def held(*kinds: type[Any]) -> list[Any]:
    """Those in memory, garbage that was not collected yet included."""
    return [found for found in gc.get_objects() if type(found) in kinds]


@contextmanager
def without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def leaves(peer: Peer) -> None:
    await peer.send(closing(1000))
    await peer.closed()


async def vanishes(peer: Peer) -> None:
    peer.writer.transport.abort()


async def errs(peer: Peer) -> None:
    await peer.send(frame(TEXT, b"nonsense"))
    await peer.closed()


async def breaks_rules(peer: Peer) -> None:
    await peer.send(frame(TEXT, b"x", mask=False))
    await peer.closed()


@pytest.mark.parametrize("parts", [leaves, vanishes, errs, breaks_rules])
async def test_a_socket_leaves_nothing_behind(world: World, parts: Callable[[Peer], Awaitable[None]]) -> None:
    """Not even for the garbage collector, which hardly ever looks at what has lived for long."""
    world.round()
    kinds = (Socket, Protocol, TimedHandler, web.Request)
    with without_collection():
        before = len(held(*kinds))
        for _ in range(3):
            async with peer(world.url) as gone:
                await gone.send(frame(TEXT, subscribe(ROUND)))
                await gone.message()
                await parts(gone)
        await until(lambda: len(held(*kinds)) == before)


async def test_a_quiet_socket_has_no_task_and_no_request(world: World) -> None:
    with without_collection():
        tasks = len(asyncio.all_tasks())
        before = len(held(web.Request, TimedHandler))
        async with peer(world.url), peer(world.url):
            await until(lambda: len(asyncio.all_tasks()) == tasks)
            assert len(held(Socket)) == 2
            assert len(held(web.Request, TimedHandler)) == before


async def test_who_comes_while_the_gateway_stops_is_sent_away(tmp_path: Path) -> None:
    async with opened(tmp_path / "stopping") as stopping, peer(stopping.url) as there:
        stop = asyncio.ensure_future(stopping.stop())
        assert await there.closed() == (1001, "The gateway is stopping")
        await stop
