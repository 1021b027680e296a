"""GraphQL over server-sent events, for clients that cannot hold a WebSocket.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web

from graphql_gateway.context import Context
from graphql_gateway.edge.negotiation import EVENT_STREAM
from graphql_gateway.edge.operations import ClientGone

KEEP_ALIVE_S = 12.0
# While less than this waits to be taken, `tell` writes.
AT_ONCE_BYTES = 32_768
# aiohttp does not tell a handler that its client hung up; a write does, and else a look now and then.
_LOOK_S = 1.0
_HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    # Proxies must not wait for more before they pass events on.
    "X-Accel-Buffering": "no",
}
_COMMENT = b":\n\n"


class EventStream:
    """An answer that stays open."""

    def __init__(self, context: Context, *, send_s: float) -> None:
        self.context = context
        self._send_s = send_s
        self._request: web.Request | None = None
        self._response = web.StreamResponse(headers=_HEADERS)
        self._opened = asyncio.Event()
        self._ended = asyncio.Event()
        self._sent_at_s = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether a request was answered with it."""
        return self._request is not None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answers a request with this stream, and keeps it alive until one side ends it."""
        self._request = request
        await self._response.prepare(request)
        if request.transport is not None:
            request.transport.set_write_buffer_limits(high=AT_ONCE_BYTES)
        try:
            # Only the first bytes make the headers leave.
            await self._write(_COMMENT)
            self._opened.set()
            await self._until_ended()
            await self._response.write_eof()
        except (ClientGone, ConnectionError):
            self._abort()
        finally:
            self._ended.set()
        return self._response

    async def _until_ended(self) -> None:
        now_s = asyncio.get_running_loop().time
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._ended.wait()
            except TimeoutError:
                if self._transport is None or self._transport.is_closing():
                    raise ClientGone from None
                if now_s() - self._sent_at_s >= KEEP_ALIVE_S:
                    await self.send(_COMMENT)

    async def close(self, _code: int, _reason: str) -> None:
        """Ends it after what is being written; there is no event that says why."""
        self._ended.set()

    async def send(self, event: bytes) -> None:
        """Waits for the stream to be opened. Raises ClientGone when the client left or takes nothing."""
        await self._opened.wait()
        if self._ended.is_set():
            raise ClientGone
        await self._write(event)

    def tell(self, event: bytes) -> bool:
        """Writes it at once. False, and nothing is written: it is not open, or what was sent before waits."""
        transport = self._transport
        if not self._opened.is_set() or self._ended.is_set() or transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > AT_ONCE_BYTES:
            return False
        # As aiohttp writes a chunk, but without waiting.
        transport.write(b"%x\r\n%b\r\n" % (len(event), event) if self._is_chunked else event)
        self._sent_at_s = asyncio.get_running_loop().time()
        return True

    async def drained(self) -> None:
        """Once `tell` writes again. Raises ClientGone when the client left or takes nothing for `send_s`."""
        await self._opened.wait()
        if self._ended.is_set() or self._request is None:
            raise ClientGone
        try:
            async with asyncio.timeout(self._send_s):
                # Does nothing but wait for as long as the transport asks for it.
                await self._request.protocol._drain_helper()  # noqa: SLF001 - a chunk would have to be written else
        except (ConnectionError, TimeoutError) as gone:
            self._abort()
            self._ended.set()
            raise ClientGone from gone

    async def _write(self, event: bytes) -> None:
        try:
            async with asyncio.timeout(self._send_s):
                await self._response.write(event)
        except (ConnectionError, TimeoutError) as gone:
            self._abort()
            self._ended.set()
            raise ClientGone from gone
        self._sent_at_s = asyncio.get_running_loop().time()

    @property
    def _is_chunked(self) -> bool:
        return self._request is not None and self._request.version >= HttpVersion11

    @property
    def _transport(self) -> asyncio.Transport | None:
        return self._request.transport if self._request is not None else None

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class OneOperation:
    """The channel of an operation that has a stream to itself: distinct connections mode."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    def tell(self, _operation_id: str, payload: bytes) -> bool:
        """One result, at once."""
        return self._stream.tell(event("next", payload))

    async def drained(self) -> None:
        """Once `tell` writes again."""
        await self._stream.drained()

    async def next(self, _operation_id: str, payload: bytes) -> None:
        """One result."""
        await self._stream.send(event("next", payload))

    async def error(self, operation_id: str, payload: bytes) -> None:
        """Errors before execution look like a result, for an EventSource cannot read a refused request."""
        await self.next(operation_id, b'{"errors":%b}' % payload)
        await self.complete(operation_id)

    async def complete(self, _operation_id: str) -> None:
        """Nothing follows: the stream ends."""
        await self._stream.send(event("complete", b""))
        await self._stream.close(0, "")


def event(name: str, data: bytes) -> bytes:
    """An event; `data` is one line, and browsers drop events without that field."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
