"""A connection whose other end is the test, and what it may say."""

from __future__ import annotations

import asyncio
from typing import Any

import hpack

from mesh import contracts
from mesh.http2 import frames
from mesh.http2.calls import Answer
from mesh.http2.connection import Connection
from tests.mesh.echo import SERVICE

ECHO = contracts.method(f"/{SERVICE}/Echo")


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


class Played:
    """A connection whose other end is the test."""

    def __init__(self, *, health: str | None = None) -> None:
        self.gone = 0
        self.wire = Wire()
        self.connection = Connection(
            "echo:1", secure=False, health=health, message_bytes_max=1_000, on_gone=self._gone
        )
        self.connection.connection_made(self.wire)

    def _gone(self) -> None:
        self.gone += 1

    async def ask(self, timeout_s: float = 5.0) -> asyncio.Task[Answer]:
        """A call that is under way."""
        call = asyncio.ensure_future(self.connection.ask(ECHO.path, b"", b"message", timeout_s))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return call

    def say(self, *said: bytes) -> None:
        self.connection.data_received(b"".join(said))


def headers(stream: int, fields: dict[str, str], *, flags: int = frames.END_HEADERS) -> bytes:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return frames.frame(frames.HEADERS, flags, stream, encoder.encode(list(fields.items()), huffman=True))


def data(stream: int, message: bytes, *, flags: int = 0) -> bytes:
    return frames.frame(frames.DATA, flags, stream, b"\0" + len(message).to_bytes(4, "big") + message)


AHEAD = {":status": "200", "content-type": "application/grpc"}
ENDED = frames.END_HEADERS | frames.END_STREAM
OK = {"grpc-status": "0"}


def answer(stream: int, message: bytes = b"answer") -> bytes:
    return headers(stream, AHEAD) + data(stream, message) + headers(stream, OK, flags=ENDED)
