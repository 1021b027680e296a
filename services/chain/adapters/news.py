"""News from the node: ZMQ where it publishes, polling in any case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

HIGH_WATER_MARK = 10_000


@asynccontextmanager
async def open_node_news(endpoint: str, poll_s: float) -> AsyncIterator[ZmqNews]:
    """Listens to topics hashblock and rawtx at the endpoint; with "" there is only polling."""
    context = zmq.asyncio.Context()
    try:
        yield ZmqNews(context, endpoint, poll_s)
    finally:
        context.destroy(linger=0)


class ZmqNews:
    """`ChainNews` over ZMQ. What it misses (it keeps nothing while away) polling finds."""

    def __init__(self, context: zmq.asyncio.Context, endpoint: str, poll_s: float) -> None:
        self._context = context
        self._endpoint = endpoint
        self._poll_s = poll_s

    async def blocks(self) -> AsyncIterator[None]:
        """Yields at every announced block, and every `poll_s`."""
        yield
        if not self._endpoint:
            while True:
                await asyncio.sleep(self._poll_s)
                yield
        with self._subscribed(b"hashblock") as socket:
            while True:
                if await socket.poll(round(self._poll_s * 1000)):
                    await socket.recv_multipart()
                yield

    async def transactions(self) -> AsyncIterator[bytes]:
        """Raw transactions as the node takes them in; none without ZMQ."""
        if not self._endpoint:
            await asyncio.Event().wait()
        with self._subscribed(b"rawtx") as socket:
            while True:
                parts = await socket.recv_multipart()
                if len(parts) >= 2 and parts[0] == b"rawtx":
                    yield parts[1]

    def _subscribed(self, topic: bytes) -> zmq.asyncio.Socket:
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.subscribe(topic)
        socket.connect(self._endpoint)
        return socket
