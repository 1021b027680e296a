"""GraphQL over HTTP and WebSocket: Strawberry's view with our context and our way to read requests."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import timedelta
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

import orjson
import strawberry
from aiohttp import WSCloseCode, web
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLRequestData
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UNSET, UnsetType

from graphql_gateway.config import GatewaySettings
from graphql_gateway.context import Context, Parts
from graphql_gateway.edge.authentication import bearer_token
from graphql_gateway.edge.graphiql import page_over
from graphql_gateway.edge.requests import (
    OPERATION_BYTES_MAX,
    TooManyUploads,
    client_address,
    is_upload,
    read_operation,
)
from graphql_gateway.edge.sockets import HEARTBEAT_S, SatreelSocket, SatreelSocketAdapter
from mesh.errors import Code, Failure
from mesh.interceptors.guards import AdminRequired, UserTokenMissing

CLIENT_CHARS_MAX = 256
CLOSE_FORBIDDEN = 4403


class SatreelView(GraphQLView[Context, None]):
    """The `/graphql` endpoint."""

    graphql_transport_ws_handler_class = SatreelSocket

    def __init__(self, schema: strawberry.Schema, parts: Parts, settings: GatewaySettings) -> None:
        super().__init__(
            schema=schema,
            graphql_ide="graphiql" if settings.graphiql else None,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=settings.connection_init_timeout_s),
            max_subscriptions_per_connection=settings.subscriptions_per_socket_max,
            allowed_origins=settings.allowed_origins,
        )
        self.websocket_adapter_class = partial(  # type: ignore[assignment] # made the same way
            SatreelSocketAdapter, send_s=settings.send_s
        )
        self._parts = parts
        self._settings = settings
        self._uploads = 0
        self._sockets: WeakKeyDictionary[web.WebSocketResponse, Context] = WeakKeyDictionary()
        self._closing: set[asyncio.Task[bool]] = set()
        parts.revocations.on_ended = self._close_sessions

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """One request or one WebSocket; what is raised becomes an answer in `refusals`."""
        if request.method not in {"GET", "POST"}:
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "POST"])
        return await (self._run_upload(request) if is_upload(request) else self.run(request))

    async def _run_upload(self, request: web.Request) -> web.StreamResponse:
        if self._uploads >= self._settings.uploads_max:
            raise TooManyUploads(maximum=self._settings.uploads_max)
        self._uploads += 1
        try:
            return await self.run(request)
        finally:
            self._uploads -= 1

    async def close_sockets(self, _application: web.Application) -> None:
        """Sends every client away, as the process is about to end."""
        for socket in tuple(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"The gateway is stopping")

    def _close_sessions(self, session_ids: Collection[str]) -> None:
        """Closes the sockets that these sessions signed in."""
        for socket, context in tuple(self._sockets.items()):
            if context.viewer is not None and context.viewer.session_id in session_ids:
                closing = asyncio.create_task(
                    socket.close(code=CLOSE_FORBIDDEN, message=b"The session was ended")
                )
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def get_context(
        self, request: web.Request, response: web.Response | web.WebSocketResponse
    ) -> Context:
        """Signs the client in by its Authorization header; a WebSocket is signed in by `on_ws_connect`."""
        context = Context(
            self._parts,
            client_address=client_address(request, trusted_proxies=self._settings.trusted_proxies),
            client=_printable(request.headers.get("User-Agent", ""))[:CLIENT_CHARS_MAX],
        )
        header = request.headers.get("Authorization", "")
        if isinstance(response, web.WebSocketResponse):
            # The connection is upgraded already: a bad token is told by closing it.
            context.handshake_authorization = header
            self._sockets[response] = context
        else:
            await context.sign_in(bearer_token(header))
            if is_upload(request):
                _require_admin(context)
        return context

    async def on_ws_connect(self, context: Context) -> UnsetType | dict[str, object] | None:
        """Signs in by `connection_init`'s payload: {"authorization": "Bearer …"}, else by the handshake's
        header.

        A bad token closes with 4403.
        """
        offered = (context.connection_params or {}).get("authorization", context.handshake_authorization)
        try:
            await context.sign_in(bearer_token(str(offered)))
        except Failure as failure:
            if failure.code is not Code.UNAUTHENTICATED:
                raise
            raise ConnectionRejectionError from failure
        return UNSET

    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        """A socket with pings that drop dead peers, and small messages."""
        socket = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [],
            heartbeat=HEARTBEAT_S,
            max_msg_size=OPERATION_BYTES_MAX,
        )
        await socket.prepare(request)
        return socket

    async def parse_http_body(self, request: Any) -> GraphQLRequestData:
        """Reads the request our way: strictly."""
        sent = cast("web.Request", request.request)
        within_s = self._settings.upload_s if is_upload(sent) else self._settings.request_s
        return await read_operation(sent, within_s=within_s)

    async def render_graphql_ide(self, request: web.Request) -> web.Response:  # noqa: ARG002 - as overridden
        """GraphiQL."""
        return web.Response(
            text=page_over(self.graphql_ide_html, self._settings.graphiql_files), content_type="text/html"
        )

    def encode_json(self, data: object) -> str | bytes:
        """JSON by orjson; text, because graphql-transport-ws is made of text frames."""
        return orjson.dumps(data).decode()

    def decode_json(self, data: str | bytes) -> object:
        """JSON of WebSocket messages. Raises JSONDecodeError."""
        return orjson.loads(data)


def _require_admin(context: Context) -> None:
    """Content would refuse the files of others as well, but not before all of them are in our memory."""
    if context.viewer is None:
        raise UserTokenMissing
    if not context.viewer.is_admin:
        raise AdminRequired


def _printable(text: str) -> str:
    return text.encode(errors="replace").decode()
