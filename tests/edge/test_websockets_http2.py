"""A WebSocket within HTTP/2 (RFC 8441) through the edge: one connection of a browser for it and all else."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from mesh.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    FRAME_BYTES_DEFAULT,
    HEAD_BYTES,
    HEADER_TABLE_SIZE,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    fields_of,
    frame,
    literal,
    read_head,
    settings,
    settings_in,
    unpadded,
    window_update,
)
from tests.edge.conftest import Door

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENABLE_CONNECT_PROTOCOL = 8
STREAM = 1
TEXT, CLOSE = 1, 8


class Tunnel:
    """One WebSocket within one HTTP/2 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.settings: dict[int, int] = {}
        self._came = b""

    async def greet(self) -> None:
        """What the edge says first: its settings."""
        self._writer.write(PREFACE + settings({HEADER_TABLE_SIZE: 0}))
        while not self.settings:
            await self._frame()

    async def connect(self, path: str, authority: str) -> dict[str, str]:
        """The answer to an extended CONNECT."""
        fields = {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": "https",
            ":path": path,
            ":authority": authority,
            "sec-websocket-version": "13",
            "sec-websocket-protocol": "graphql-transport-ws",
        }
        block = b"".join(literal(name, value) for name, value in fields.items())
        self._writer.write(frame(HEADERS, END_HEADERS, STREAM, block))
        while True:
            kind, payload = await self._frame()
            if kind == HEADERS:
                return dict(fields_of(payload))

    def say(self, message: Any) -> None:
        """A text frame, masked as a client's must be (RFC 6455)."""
        text, mask = json.dumps(message).encode(), os.urandom(4)
        length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        self._writer.write(frame(DATA, 0, STREAM, bytes([0x80 | TEXT]) + length + mask + masked))

    async def hear(self) -> Any:
        """The next message."""
        head = await self._bytes(2)
        length = head[1]
        if length == 126:
            length = int.from_bytes(await self._bytes(2), "big")
        assert head[0] == 0x80 | TEXT
        return json.loads(await self._bytes(length))

    async def _bytes(self, count: int) -> bytes:
        while len(self._came) < count:
            kind, payload = await self._frame()
            if kind == DATA:
                self._came += payload
                self._writer.write(window_update(STREAM, max(1, len(payload))))
        found, self._came = self._came[:count], self._came[count:]
        return found

    async def _frame(self) -> tuple[int, bytes]:
        head = await self._reader.readexactly(HEAD_BYTES)
        high, low, kind, flags, _ = read_head(head)
        length = high << 8 | low
        assert length <= FRAME_BYTES_DEFAULT
        payload = await self._reader.readexactly(length)
        if kind == SETTINGS and not flags & ACK:
            self.settings |= dict(settings_in(payload))
            self._writer.write(frame(SETTINGS, ACK, 0))
        if kind == PING and not flags & ACK:
            self._writer.write(frame(PING, ACK, 0, payload))
        return kind, unpadded(flags, payload) if kind in (DATA, HEADERS) else payload


async def test_operations_run_on_a_websocket_within_http_2(door: Door) -> None:
    context = door.tls()
    context.set_alpn_protocols(["h2"])
    port = door.house.settings.https_port
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    try:
        tunnel = Tunnel(reader, writer)
        await tunnel.greet()
        assert tunnel.settings[ENABLE_CONNECT_PROTOCOL] == 1
        answer = await tunnel.connect("/graphql", f"localhost:{port}")
        assert (answer[":status"], answer["sec-websocket-protocol"]) == ("200", "graphql-transport-ws")
        tunnel.say({"type": "connection_init"})
        assert (await tunnel.hear())["type"] == "connection_ack"
        tunnel.say({"id": "1", "type": "subscribe", "payload": {"query": "{ __typename }"}})
        told = await tunnel.hear()
        assert (told["type"], told["payload"]["data"]) == ("next", {"__typename": "Query"})
        assert await tunnel.hear() == {"id": "1", "type": "complete"}
    finally:
        writer.close()
