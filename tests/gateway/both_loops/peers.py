"""Clients that write and read WebSocket frames as bytes, and the sockets on the other side."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import yarl

from graphql_gateway.edge.sockets import Socket
from tests.gateway.client import PROTOCOL, WAIT_S

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


def the_socket() -> Socket:
    """The only one that is open."""
    (found,) = [one for one in held(Socket) if not one.is_lost]
    assert isinstance(found, Socket)
    return found


def held(*kinds: type[Any]) -> list[Any]:
    """Those in memory, garbage that was not collected yet included."""
    return [found for found in gc.get_objects() if type(found) in kinds]
