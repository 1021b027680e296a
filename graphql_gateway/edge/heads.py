"""Heads of requests must come in time: one sent byte by byte would hold its connection for ever. And what is
sent ahead of its turn is not read: many connections full of requests would hold the loop before any is begun.

aiohttp has a time limit for idle connections, and none for a head that has begun.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web, web_protocol
from aiohttp.web_protocol import RequestHandler

# Requests of one connection that are read while one is answered; aiohttp would read 32.
web_protocol.MAX_MSG_QUEUE_SIZE = 2

_BODY = b'{"errors":[{"message":"The head of a request is sent sooner.","extensions":{"code":"TOO_SLOW"}}]}'
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class TimedHandler(RequestHandler):
    """One connection."""

    __slots__ = ("_began", "_head_s", "_timer")

    def __init__(self, *given: Any, head_s: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_s = head_s
        self._began = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first head is waited for from now on, the others from their first byte."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """Part of a head, or of something else."""
        super().data_received(data)
        if self._request_count and (self._messages or self._current_request is not None or self._upgraded):
            self._stop()
        elif data:
            self._began = True
            self._start()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nobody waits any more."""
        self._stop()
        super().connection_lost(exc)

    def give_away(self, to: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
        """The connection is another protocol's from now on: its transport, and what came behind the request.

        Nothing here holds it any more. Raises ConnectionResetError when it is gone.
        """
        transport, early = self.transport, self._message_tail
        if transport is None:
            raise ConnectionResetError("Connection lost")
        self.transport, self._message_tail = None, b""
        transport.set_protocol(to)
        self.connection_lost(None)
        return transport, early

    def _start(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._head_s, self._give_up)

    def _stop(self) -> None:
        self._began = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        # To a connection that a browser opened ahead of need, a 408 would look like its next answer.
        if self._began and self.transport is not None:
            self.transport.write(_TOO_SLOW)
        self.force_close()


class TimedServer(web.Server):
    """Makes connections with a time limit for heads out of a server without."""

    def __init__(self, server: web.Server, *, head_s: float) -> None:
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            **server._kwargs,  # noqa: SLF001 - as it was made
        )
        self._head_s = head_s

    def __call__(self) -> RequestHandler:
        """A new connection."""
        return TimedHandler(self, loop=self._loop, head_s=self._head_s, **self._kwargs)


class TimedRunner(web.AppRunner):
    """Serves an application with a time limit for heads."""

    __slots__ = ("_head_s",)

    def __init__(self, application: web.Application, *, head_s: float, **given: Any) -> None:
        super().__init__(application, **given)
        self._head_s = head_s

    async def _make_server(self) -> web.Server:
        return TimedServer(await super()._make_server(), head_s=self._head_s)
