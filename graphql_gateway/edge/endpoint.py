"""`/graphql` and `/graphql/stream`: GraphQL over HTTP, WebSockets and server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import strawberry
from aiohttp import hdrs, web
from graphql import GraphQLError
from strawberry.http.ides import get_graphql_ide_html
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType

from graphql_gateway.config import GatewaySettings
from graphql_gateway.context import Context, Parts
from graphql_gateway.edge.authentication import bearer_token
from graphql_gateway.edge.caching import cacheable
from graphql_gateway.edge.connected import Connected
from graphql_gateway.edge.counting import BUDGET
from graphql_gateway.edge.graphiql import page_over
from graphql_gateway.edge.increments import asks_for_pieces, deliver
from graphql_gateway.edge.negotiation import JSON, Wanted, wanted
from graphql_gateway.edge.operations import Operations
from graphql_gateway.edge.origins import Origins
from graphql_gateway.edge.refusals import BadRequest
from graphql_gateway.edge.requests import (
    OPERATION_BYTES_MAX,
    GraphQLRequest,
    client_address,
    is_upload,
    read_operation,
)
from graphql_gateway.edge.reservations import TOKEN_HEADER, Reservations, checked_id
from graphql_gateway.edge.results import answer, json_answer
from graphql_gateway.edge.sockets import Socket
from graphql_gateway.edge.streams import EventStream, OneOperation
from graphql_gateway.edge.transport import Limits
from graphql_gateway.edge.uploads import TooManyUploads, read_upload
from graphql_gateway.errors import rendered
from graphql_gateway.safety.access import ADMINS, require

CLIENT_CHARS_MAX = 256

_NAMES_DOCUMENT = {"query", "extensions", "documentId"}
_BY_GET = frozenset({OperationType.QUERY})
_BY_POST = _BY_GET | {OperationType.MUTATION}
_NOT_STREAMED = "Subscriptions go over graphql-transport-ws, or to clients that accept text/event-stream."


class Endpoint:
    """What is raised in here becomes an answer in `refusals`."""

    def __init__(
        self, schema: strawberry.Schema, parts: Parts, settings: GatewaySettings, origins: Origins
    ) -> None:
        self._schema = schema
        self._parts = parts
        self._settings = settings
        self._origins = origins
        self._uploads = 0
        self.connected = Connected(
            per_address_max=settings.connections_per_address_max,
            per_user_max=settings.connections_per_user_max,
        )
        self._limits = Limits(OPERATION_BYTES_MAX, settings.send_s, settings.ping_s)
        self._reservations = Reservations(schema, settings, self.connected)
        parts.revocations.on_ended = self.connected.end_sessions

    async def graphql(self, request: web.Request) -> web.StreamResponse:
        """One request or one WebSocket; the GraphiQL page for browsers."""
        if request.method not in {hdrs.METH_GET, hdrs.METH_POST}:
            raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_GET, hdrs.METH_POST])
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return self._socket(request)
        asked = wanted(request)
        if asked.html and request.method == hdrs.METH_GET and not request.query.keys() & _NAMES_DOCUMENT:
            return self._page()
        return await self._operation(request, asked)

    async def reserve(self, request: web.Request) -> web.Response:
        """PUT: a token for an event stream of one's own."""
        return web.Response(status=201, text=self._reservations.reserve(await self._signed_in(request)))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET: the event stream that was reserved, or one for the operation in the address."""
        token = _token_of(request)
        if not token:
            return await self._operation(request, wanted(request))
        if not wanted(request).event_stream:
            raise web.HTTPNotAcceptable(text="A stream is text/event-stream.")
        return await self._reservations.take(request, token, await self._signed_in(request))

    async def operate(self, request: web.Request) -> web.StreamResponse:
        """POST: an operation whose results come on the reserved stream; on the answer when none is named."""
        token = _token_of(request)
        if not token:
            return await self._operation(request, wanted(request))
        context = await self._signed_in(request)
        shared = self._reservations.find(token, context)
        operation = await read_operation(request, within_s=self._settings.request_s)
        errors = await shared.start(await operation.found(self._parts.documents))
        if errors is not None:
            return json_answer(b'{"errors":%b}' % errors, wanted(request).json or JSON, status=400)
        return web.Response(status=202)

    async def stop(self, request: web.Request) -> web.Response:
        """DELETE: ends an operation on the reserved stream."""
        shared = self._reservations.find(_token_of(request), await self._signed_in(request))
        shared.stop(checked_id(request.query.get("operationId")))
        return web.Response()

    async def _operation(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        if asked.json is None and not asked.event_stream and not asked.incremental:
            raise web.HTTPNotAcceptable(
                text="Answers are application/graphql-response+json, application/json or text/event-stream."
            )
        if request.method == hdrs.METH_GET:
            self._origins.check_get(request)
        context = await self._signed_in(request)
        if is_upload(request):
            async with self._uploaded(request, context) as operation:
                return await self._answered(request, asked, context, operation)
        operation = await read_operation(request, within_s=self._settings.request_s)
        return await self._answered(request, asked, context, await operation.found(self._parts.documents))

    async def _answered(
        self, request: web.Request, asked: Wanted, context: Context, operation: GraphQLRequest
    ) -> web.StreamResponse:
        if asked.event_stream:
            return await self._events(request, context, operation)
        if asked.incremental and asks_for_pieces(operation.query):
            return await self._pieces(request, context, operation, asked.json or JSON)
        async with context.budget.place():
            result = await self._execute(request, context, operation)
        return cacheable(
            request,
            answer(result, asked.json or JSON),
            max_age_s=0 if result.errors or operation.named.is_text_only else _fresh_s(context),
        )

    async def _signed_in(self, request: web.Request) -> Context:
        """Raises Unauthenticated, or what keeps identity from telling; RateLimited."""
        context = self._context(request)
        await context.sign_in(bearer_token(request.headers.get(hdrs.AUTHORIZATION, "")))
        await context.budget.ask()
        return context

    def _context(self, request: web.Request) -> Context:
        return Context(
            self._parts,
            request[BUDGET],
            client_address=client_address(request, trusted_proxies=self._settings.trusted_proxies),
            client=_printable(request.headers.get(hdrs.USER_AGENT, ""))[:CLIENT_CHARS_MAX],
        )

    @asynccontextmanager
    async def _uploaded(self, request: web.Request, context: Context) -> AsyncIterator[GraphQLRequest]:
        """An operation with files: as long as these are here it counts as an upload."""
        _require_admin(context)
        if self._uploads >= self._settings.uploads_max:
            raise TooManyUploads(maximum=self._settings.uploads_max)
        self._uploads += 1
        try:
            operation = await read_upload(request, within_s=self._settings.upload_s)
            yield await operation.found(self._parts.documents)
        finally:
            self._uploads -= 1

    async def _execute(
        self, request: web.Request, context: Context, operation: GraphQLRequest
    ) -> ExecutionResult:
        try:
            result = await self._schema.execute(
                operation.query,
                variable_values=operation.variables,
                context_value=context,
                operation_name=operation.operation_name,
                operation_extensions=operation.extensions,
                allowed_operation_types=_allowed(request),
            )
        except CannotGetOperationTypeError as unknown:
            error = GraphQLError(unknown.as_http_error_reason(), original_error=unknown)
            return PreExecutionError(data=None, errors=[rendered(error, before_execution=True)])
        except InvalidOperationTypeError as problem:
            if problem.operation_type is OperationType.MUTATION:
                raise web.HTTPMethodNotAllowed(
                    request.method, [hdrs.METH_POST], text="Mutations are sent by POST."
                ) from None
            raise BadRequest(_NOT_STREAMED) from None
        context.budget.check()
        return result

    async def _pieces(
        self, request: web.Request, context: Context, operation: GraphQLRequest, media_type: str
    ) -> web.StreamResponse:
        context.takes_increments = True
        results = await self._schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=context,
            operation_name=operation.operation_name,
            operation_extensions=operation.extensions,
            allowed_operation_types=_allowed(request),
        )
        async with aclosing(results):
            first = await anext(results)
            if isinstance(first, ExecutionResult):
                context.budget.check()
                return answer(first, media_type)
            return await deliver(request, first, results)

    async def _events(
        self, request: web.Request, context: Context, operation: GraphQLRequest
    ) -> web.StreamResponse:
        stream = EventStream(context, send_s=self._settings.send_s)
        operations = Operations(self._schema, context, OneOperation(stream), maximum=1)
        with self.connected.joined(stream):
            operations.start("", operation, allowed=_allowed(request) | {OperationType.SUBSCRIPTION})
            try:
                return await stream.serve(request)
            finally:
                await operations.close()

    def _socket(self, request: web.Request) -> web.StreamResponse:
        self._origins.check(request)
        authorization = request.headers.get(hdrs.AUTHORIZATION, "")
        context = self._context(request)
        socket = Socket(self._schema, context, self._settings, self._limits, authorization)
        return socket.open(request, self.connected)

    def _page(self) -> web.Response:
        if not self._settings.is_open:
            raise web.HTTPNotFound
        page = page_over(get_graphql_ide_html(), self._settings.graphiql_files)
        return web.Response(text=page, content_type="text/html")


def _fresh_s(context: Context) -> int:
    """For how long an answer may be given to others: what a viewer asked for never is."""
    priced = context.budget.priced
    return priced.max_age_s if priced is not None and context.viewer is None else 0


def _allowed(request: web.Request) -> frozenset[OperationType]:
    return _BY_GET if request.method == hdrs.METH_GET else _BY_POST


def _token_of(request: web.Request) -> str:
    return request.headers.get(TOKEN_HEADER, request.query.get("token", ""))


def _require_admin(context: Context) -> None:
    """Content would refuse the files of others as well, but not before all of them are in our memory."""
    require(*ADMINS, context)


def _printable(text: str) -> str:
    return text.encode(errors="replace").decode()
