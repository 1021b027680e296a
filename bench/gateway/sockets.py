"""Subscribers: a client process with thousands of WebSockets, and what their messages cost the server.

    python -m bench.gateway.sockets PORT SOCKETS

opens them in a process of its own, prints {"open": SOCKETS} when each has its first event, and for every line
on its standard input, a number of messages and seconds, what it sees from then on: {"messages", "seconds",
"delays_ms", "lost"} once that many have come, the time is over or nothing comes any more.
The clients do as little as they can: they look for the first score.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import struct
import sys
import time
from array import array
from typing import cast

import uvloop

from bench.gateway.operations import LEADERBOARD
from sandbox.process import LOOPBACK

SILENCE_S_MAX = 15.0
OPENING_AT_ONCE = 50
DELAYS_MAX = 20_000
_SCORE = re.compile(rb'"score": ?(\d+)')
_SHORT, _TWO_BYTES = 126, 127
_PING, _PONG = 0x89, 0x8A


class Subscriber(asyncio.Protocol):
    """One WebSocket with the one subscription, told in bytes: real clients would cost more than servers."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._left = b""
        self._upgraded = False
        self._transport: asyncio.Transport
        self.first = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the WebSocket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            "\r\n".join(
                [
                    "GET /graphql HTTP/1.1",
                    "Host: gateway",
                    "Upgrade: websocket",
                    "Connection: Upgrade",
                    "Sec-WebSocket-Version: 13",
                    f"Sec-WebSocket-Key: {key}",
                    "Sec-WebSocket-Protocol: graphql-transport-ws",
                    "",
                    "",
                ]
            ).encode()
        )

    def data_received(self, data: bytes) -> None:
        """Takes what is whole of it."""
        data = self._left + data
        if not self._upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._left = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._transport.abort()
                return
            self._upgraded = True
            self._send({"type": "connection_init"})
        self._left = self._frames(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Told to whoever waits."""
        self._seen.lost += 1
        if not self.first.done():
            self.first.set_exception(exc or ConnectionError("closed before the first event"))

    def close(self) -> None:
        """Without a word, as browsers' tabs go."""
        self._transport.abort()

    def _frames(self, data: bytes) -> bytes:
        """Takes whole frames, gives the rest."""
        at = 0
        while len(data) >= at + 2:
            length, begin = data[at + 1], at + 2
            if length == _SHORT:
                if len(data) < at + 4:
                    break
                (length,), begin = struct.unpack_from(">H", data, at + 2), at + 4
            elif length == _TWO_BYTES:
                if len(data) < at + 10:
                    break
                (length,), begin = struct.unpack_from(">Q", data, at + 2), at + 10
            if len(data) < begin + length:
                break
            self._take(data[at], data[begin : begin + length])
            at = begin + length
        return data[at:]

    def _take(self, kind: int, message: bytes) -> None:
        if kind == _PING:
            self._frame(_PONG, message)
        elif b'"connection_ack"' in message:
            self._send({"id": "1", "type": "subscribe", "payload": {"query": LEADERBOARD}})
        elif b'"ping"' in message[:20]:
            self._send({"type": "pong"})
        elif message.startswith(b'{"id":"1","type":"error"') or b'"type":"complete"' in message[:40]:
            self._seen.lost += 1
        elif score := _SCORE.search(message):
            if self.first.done():
                self._seen.take(int(score[1]))
            else:
                self.first.set_result(None)

    def _send(self, message: object) -> None:
        self._frame(0x81, json.dumps(message).encode())

    def _frame(self, kind: int, payload: bytes) -> None:
        # Masked with zeros: what is masked reads the same.
        length = len(payload)
        size = (
            bytes([0x80 | length]) if length < _SHORT else bytes([0x80 | _SHORT]) + struct.pack(">H", length)
        )
        self._transport.write(bytes([kind]) + size + bytes(4) + payload)


class Seen:
    """What all subscribers of this process got."""

    def __init__(self) -> None:
        self.messages = 0
        self.lost = 0
        self.last_s = 0.0
        self._delays_us = array("q")

    def take(self, score_us: int) -> None:
        """A message whose score says when it was published."""
        now_us = time.time_ns() // 1_000
        self.messages += 1
        self.last_s = time.perf_counter()
        self._delays_us.append(now_us - score_us)

    async def until(self, messages: int, seconds_max: float) -> dict[str, object]:
        """When so many have come, the time is over, or nothing comes any more."""
        begun_s = self.last_s = time.perf_counter()
        # An event for each message would cost more.
        while self.messages < messages and self._goes_on(begun_s + seconds_max):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        delays = sorted(self._delays_us)
        step = max(1, len(delays) // DELAYS_MAX)
        told = {
            "messages": self.messages,
            "seconds": self.last_s - begun_s,
            "delays_ms": [delay / 1_000 for delay in delays[::step]],
            "lost": self.lost,
        }
        self.messages, self._delays_us = 0, array("q")
        return told

    def _goes_on(self, until_s: float) -> bool:
        now_s = time.perf_counter()
        return now_s < until_s and now_s - self.last_s < SILENCE_S_MAX


async def subscribed(port: int, count: int, seen: Seen) -> list[Subscriber]:
    """So many sockets that each have had their first event."""
    loop = asyncio.get_running_loop()
    opening = asyncio.Semaphore(OPENING_AT_ONCE)

    async def one() -> Subscriber:
        async with opening:
            _, subscriber = await loop.create_connection(lambda: Subscriber(seen), LOOPBACK, port)
            await subscriber.first
            return subscriber

    return await asyncio.gather(*(one() for _ in range(count)))


async def main(port: int, count: int) -> None:
    """Until its standard input ends."""
    seen = Seen()
    subscribers = await subscribed(port, count, seen)
    orders = asyncio.StreamReader(limit=1 << 16)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(json.dumps({"port": port, "open": len(subscribers)}), flush=True)
    while line := await orders.readline():
        messages, seconds_max = line.split()
        print(json.dumps(await seen.until(int(messages), float(seconds_max))), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
