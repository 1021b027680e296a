"""From an HTTP request to a WebSocket: its handshake (RFC 6455, 4.2), and a connection that changes hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from graphql_gateway.edge.heads import TimedHandler
from graphql_gateway.edge.transport import WebSocket

_SWITCHES = 101


class HandedOver(web.StreamResponse):
    """The answer to a request whose connection is no longer HTTP's: nothing is written for it."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - as overridden
        """The handshake's answer was written already."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """The connection goes on."""


def accepted(request: web.Request, protocol: str) -> Response:
    """The answer to a WebSocket's handshake; it names the protocol if the client speaks it.

    Raises HTTPMethodNotAllowed, HTTPBadRequest.
    """
    wire = ServerProtocol(select_subprotocol=lambda _, offered: _if_in(offered, protocol))
    version = f"HTTP/{request.version.major}.{request.version.minor}"
    asked = Request(request.path, Headers(request.headers.items()), request.method, version)
    response = wire.accept(asked)
    if response.status_code == web.HTTPMethodNotAllowed.status_code:
        raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_GET])
    if response.status_code != _SWITCHES:
        raise web.HTTPBadRequest(text=f"No WebSocket: {wire.handshake_exc}.")
    return response


def hand_over(
    request: web.Request, response: Response, to: WebSocket, headers: Mapping[str, str]
) -> HandedOver:
    """Writes the answer with more headers, and gives the connection away. Raises ConnectionResetError."""
    assert isinstance(request.protocol, TimedHandler)
    for name, value in headers.items():
        response.headers[name] = value
    transport, early = request.protocol.give_away(to)
    to.begin(transport, response.serialize(), early)
    return HandedOver()


async def end_declined(request: web.Request, response: web.StreamResponse) -> None:
    """Before a response's head is sent: after an upgrade that was not made nothing is read.

    aiohttp loses what came in one piece with such a request, or a part of it, and would read on behind that.
    """
    if hdrs.UPGRADE in request.headers:
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"


def _if_in(offered: Sequence[Subprotocol], protocol: str) -> Subprotocol | None:
    return next((one for one in offered if one == protocol), None)
