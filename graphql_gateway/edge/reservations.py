"""Event streams that many operations share (GraphQL over SSE, single connection mode).

A client reserves a stream, takes it once by the token it is given, and asks for operations by requests of
their own; their results come on the stream. Token and stream live in this process: several gateways behind
one address need clients to stay with one, or distinct connections.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import orjson
import strawberry
from aiohttp import web

from graphql_gateway.config import GatewaySettings
from graphql_gateway.context import Context
from graphql_gateway.edge.connected import Connected
from graphql_gateway.edge.operations import Operations
from graphql_gateway.edge.requests import GraphQLRequest
from graphql_gateway.edge.streams import EventStream, event
from mesh.errors import Code, Exhausted, FailedPrecondition, Failure, InvalidArgument, NotFound

TOKEN_HEADER = "X-GraphQL-Event-Stream-Token"  # noqa: S105 - a header's name
ID_CHARS_MAX = 128
RESERVED_MAX = 10_000


class StreamNotFound(NotFound):
    """There is no such stream of this log-in, or it has ended."""

    reason = "STREAM_NOT_FOUND"


class StreamTaken(Failure):
    """The stream was taken before: a token is good for one."""

    code = Code.ALREADY_EXISTS
    reason = "STREAM_TAKEN"


class TooManyStreams(Exhausted):
    """This gateway keeps as many streams as it may; try again later."""

    reason = "TOO_MANY_STREAMS"


class StreamsNotShared(FailedPrecondition):
    """This gateway runs in several processes, which share no streams: open one for each operation instead."""

    reason = "STREAMS_NOT_SHARED"


class OperationIdMissing(InvalidArgument):
    """`extensions.operationId` must be a text of 1 to 128 characters."""

    reason = "BAD_REQUEST"


class SharedStream:
    """A stream with the operations whose results come on it, and their channel."""

    def __init__(self, schema: strawberry.Schema, context: Context, settings: GatewaySettings) -> None:
        self.context = context
        self.stream = EventStream(context, send_s=settings.send_s)
        self._operations = Operations(schema, context, self, maximum=settings.subscriptions_per_socket_max)
        # Of operations that wait for their validation: the errors that refuse them, or None.
        self._verdicts: dict[str, asyncio.Future[bytes | None]] = {}

    async def start(self, request: GraphQLRequest) -> bytes | None:
        """Starts an operation; gives the errors when it is not carried out.

        Raises OperationIdMissing, OperationExists, TooManySubscriptions.
        """
        operation_id = checked_id((request.extensions or {}).get("operationId"))
        verdict = asyncio.get_running_loop().create_future()
        self._operations.start(operation_id, request, on_valid=lambda: self._judge(operation_id, None))
        self._verdicts[operation_id] = verdict
        try:
            return await verdict
        finally:
            self._verdicts.pop(operation_id, None)

    def stop(self, operation_id: str) -> None:
        """Ends an operation without a word."""
        self._judge(operation_id, None)
        self._operations.stop(operation_id)

    def stop_all(self) -> None:
        """Ends all operations."""
        for operation_id in tuple(self._verdicts):
            self._judge(operation_id, None)
        self._operations.stop_all()

    async def close(self, code: int, reason: str) -> None:
        """Ends all."""
        self.stop_all()
        await self.stream.close(code, reason)

    def tell(self, operation_id: str, payload: bytes) -> bool:
        """One result, at once."""
        self._judge(operation_id, None)
        return self.stream.tell(_next(operation_id, payload))

    async def drained(self) -> None:
        """Once `tell` writes again."""
        await self.stream.drained()

    async def next(self, operation_id: str, payload: bytes) -> None:
        """One result."""
        self._judge(operation_id, None)
        await self.stream.send(_next(operation_id, payload))

    async def error(self, operation_id: str, payload: bytes) -> None:
        """Errors before execution are the answer to the request, unless that has been answered."""
        if not self._judge(operation_id, payload):
            await self.next(operation_id, b'{"errors":%b}' % payload)
            await self.complete(operation_id)

    async def complete(self, operation_id: str) -> None:
        """Nothing follows."""
        self._judge(operation_id, None)
        await self.stream.send(event("complete", b'{"id":%b}' % orjson.dumps(operation_id)))

    def _judge(self, operation_id: str, errors: bytes | None) -> bool:
        """Whether somebody waited for it."""
        verdict = self._verdicts.get(operation_id)
        if verdict is None or verdict.done():
            return False
        verdict.set_result(errors)
        return True


def _next(operation_id: str, payload: bytes) -> bytes:
    return event("next", b'{"id":%b,"payload":%b}' % (orjson.dumps(operation_id), payload))


def checked_id(operation_id: Any) -> str:
    """The id of an operation. Raises OperationIdMissing."""
    if isinstance(operation_id, str) and 0 < len(operation_id) <= ID_CHARS_MAX:
        return operation_id
    raise OperationIdMissing


class Reservations:
    """Streams that are reserved or taken, by their tokens."""

    def __init__(self, schema: strawberry.Schema, settings: GatewaySettings, connected: Connected) -> None:
        self._schema = schema
        self._settings = settings
        self._connected = connected
        self._streams: dict[str, SharedStream] = {}

    def reserve(self, context: Context) -> str:
        """A token for a new stream; it ends if nobody takes it in `connection_init_timeout_s`.

        Raises TooManyStreams, StreamsNotShared.
        """
        if self._settings.is_parent:
            # Later requests reach whichever process is free.
            raise StreamsNotShared
        if len(self._streams) >= RESERVED_MAX:
            raise TooManyStreams(maximum=RESERVED_MAX)
        token = secrets.token_urlsafe(32)
        self._streams[token] = SharedStream(self._schema, context, self._settings)
        asyncio.get_running_loop().call_later(
            self._settings.connection_init_timeout_s, self._drop_untaken, token
        )
        return token

    def find(self, token: str, context: Context) -> SharedStream:
        """The stream of this token and log-in. Raises StreamNotFound."""
        shared = self._streams.get(token)
        if shared is None or _session_of(shared.context) != _session_of(context):
            raise StreamNotFound
        return shared

    async def take(self, request: web.Request, token: str, context: Context) -> web.StreamResponse:
        """Answers with the stream until it ends. Raises StreamNotFound, StreamTaken."""
        shared = self.find(token, context)
        if shared.stream.is_taken:
            raise StreamTaken
        with self._connected.joined(shared):
            try:
                return await shared.stream.serve(request)
            finally:
                self._streams.pop(token, None)
                await shared.close(0, "")

    def _drop_untaken(self, token: str) -> None:
        shared = self._streams.get(token)
        if shared is not None and not shared.stream.is_taken:
            del self._streams[token]
            shared.stop_all()


def _session_of(context: Context) -> str | None:
    return context.viewer.session_id if context.viewer else None
