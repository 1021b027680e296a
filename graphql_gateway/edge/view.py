"""GraphQL over HTTP and WebSocket: Strawberry's view with our context, our errors and our upload rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import strawberry
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLHTTPResponse
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UNSET, UnsetType

from graphql_gateway.context import Context
from graphql_gateway.edge.authentication import Authenticator, bearer_token
from graphql_gateway.edge.tickets import Tickets
from graphql_gateway.errors import extensions_of
from graphql_gateway.live import Live
from graphql_gateway.services import Services
from mesh.errors import Code, Failure

# Browsers do not send this header across origins without asking first, so a foreign page cannot make an upload.
PREFLIGHT_HEADER = "X-Satreel-Preflight"
CLIENT_LENGTH_MAX = 256

_HTTP_STATUS = {Code.UNAUTHENTICATED: 401, Code.UNAVAILABLE: 503, Code.DEADLINE_EXCEEDED: 504}


@dataclass(frozen=True, slots=True)
class Parts:
    """What every context is made of."""

    services: Services
    live: Live
    authenticator: Authenticator
    tickets: Tickets


class SatreelView(GraphQLView[Context, None]):
    """The `/graphql` endpoint."""

    def __init__(
        self,
        schema: strawberry.Schema,
        parts: Parts,
        *,
        graphiql: bool,
        connection_init_timeout_s: float,
        subscriptions_per_socket_max: int,
        allowed_origins: Sequence[str],
    ) -> None:
        super().__init__(
            schema=schema,
            graphql_ide="graphiql" if graphiql else None,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=connection_init_timeout_s),
            multipart_uploads_enabled=True,
            max_subscriptions_per_connection=subscriptions_per_socket_max,
            allowed_origins=allowed_origins,
        )
        self._parts = parts

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """One request or one WebSocket."""
        if request.content_type == "multipart/form-data" and PREFLIGHT_HEADER not in request.headers:
            return refusal(400, "PREFLIGHT_REQUIRED", f"Uploads must carry the header {PREFLIGHT_HEADER}.")
        try:
            return await super().__call__(request)
        except Failure as failure:
            return refused(failure)

    async def get_context(
        self, request: web.Request, response: web.Response | web.WebSocketResponse
    ) -> Context:
        """Signs the client in by its Authorization header; a WebSocket may do it by connection_init instead."""
        parts = self._parts
        context = Context(
            services=parts.services,
            live=parts.live,
            authenticator=parts.authenticator,
            tickets=parts.tickets,
            client_address=request.remote or "",
            client=request.headers.get("User-Agent", "")[:CLIENT_LENGTH_MAX],
        )
        await context.sign_in(bearer_token(request.headers.get("Authorization", "")))
        return context

    async def on_ws_connect(self, context: Context) -> UnsetType | dict[str, object] | None:
        """Signs in by `connection_init`'s payload: {"authorization": "Bearer …"}. Closes with 4403 if it is bad."""
        offered = (context.connection_params or {}).get("authorization")
        if offered is None:
            return UNSET
        try:
            await context.sign_in(bearer_token(str(offered)))
        except Failure as failure:
            raise ConnectionRejectionError from failure
        return UNSET

    def encode_json(self, data: object) -> str | bytes:
        """JSON by orjson; text, because graphql-transport-ws is made of text frames."""
        return orjson.dumps(data).decode()

    def decode_json(self, data: str | bytes) -> object:
        """Strawberry tells its users about ValueErrors; orjson's error is one."""
        return orjson.loads(data)


def refusal(status: int, code: str, message: str, **extensions: Any) -> web.Response:
    """A GraphQL answer to a request that is not executed."""
    answer: GraphQLHTTPResponse = {
        "data": None,
        "errors": [{"message": message, "extensions": {"code": code, **extensions}}],
    }
    return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")


def refused(failure: Failure) -> web.Response:
    """A failure before execution, such as a bad access token."""
    told = extensions_of(failure)
    return refusal(_HTTP_STATUS.get(failure.code, 400), told.pop("code"), failure.message, **told)
