"""graphql-transport-ws, strictly.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import orjson
import strawberry
from aiohttp import WSCloseCode, hdrs, web
from graphql import GraphQLError

from graphql_gateway.config import GatewaySettings
from graphql_gateway.context import Context
from graphql_gateway.edge.authentication import bearer_token
from graphql_gateway.edge.connected import CLOSE_FORBIDDEN, Connected, Member
from graphql_gateway.edge.handshake import accepted, hand_over
from graphql_gateway.edge.operations import ClientGone, OperationExists, Operations
from graphql_gateway.edge.requests import operation_of
from graphql_gateway.edge.transport import Limits, WebSocket
from graphql_gateway.errors import masked, rendered
from graphql_gateway.safety.front import Kind
from graphql_gateway.safety.pace import Pace
from mesh.errors import Code, Failure

PROTOCOL = "graphql-transport-ws"
ID_CHARS_MAX = 128
# Of messages that wait for those before them; who has sent more is not listened to meanwhile.
INBOX_MAX, INBOX_BYTES_MAX = 64, 65_536

CLOSE_BAD_MESSAGE = 4400
CLOSE_UNAUTHORIZED = 4401
CLOSE_NO_SUCH_PROTOCOL = 4406
CLOSE_INIT_TIMEOUT = 4408
CLOSE_OPERATION_EXISTS = 4409
CLOSE_INIT_TWICE = 4429
CLOSE_TRY_LATER = 1013


class _Closed(Exception):  # noqa: N818 - how a conversation ends
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Socket(WebSocket):
    """One client: a connection that operations run on, and their channel."""

    __slots__ = (
        "_answering",
        "_authorization",
        "_inbox",
        "_inbox_bytes",
        "_introduction",
        "_is_acknowledged",
        "_member",
        "_operations",
        "_pace",
        "_settings",
        "_variables",
        "context",
    )

    def __init__(
        self,
        schema: strawberry.Schema,
        context: Context,
        settings: GatewaySettings,
        limits: Limits,
        authorization: str,
    ) -> None:
        """`authorization` is the handshake's header."""
        super().__init__(limits)
        self.context = context
        self._settings = settings
        self._authorization = authorization
        self._member: Member | None = None
        self._pace = Pace(settings.messages_per_s, self._loop.time)
        self._operations = Operations(schema, context, self, maximum=settings.subscriptions_per_socket_max)
        # Messages that came and are not answered yet; who answers them, while there are any, and as whom.
        self._inbox: list[str | bytes] = []
        self._inbox_bytes = 0
        self._answering: asyncio.Task[None] | None = None
        self._variables = contextvars.Context()
        # Until connection_init has come.
        self._introduction: asyncio.TimerHandle | None = None
        self._is_acknowledged = False

    def open(self, request: web.Request, connected: Connected) -> web.StreamResponse:
        """Answers the handshake with it. Raises HTTPException, TooManyConnections, ConnectionResetError."""
        response = accepted(request, PROTOCOL)
        self._member = connected.join(self)
        try:
            handed_over = hand_over(request, response, self, self.context.budget.headers)
        except ConnectionError:
            self._member.leave()
            raise
        if hdrs.SEC_WEBSOCKET_PROTOCOL not in response.headers:
            self.end(CLOSE_NO_SUCH_PROTOCOL, "Subprotocol not acceptable")
        else:
            self._introduction = self._loop.call_later(
                self._settings.connection_init_timeout_s,
                self.end,
                CLOSE_INIT_TIMEOUT,
                "Connection initialisation timeout",
            )
        return handed_over

    def received(self, message: str | bytes) -> None:
        """Answered after those before it; who sends much without waiting is held."""
        self._inbox.append(message)
        self._inbox_bytes += len(message)
        if self._answering is None:
            self._answering = self._loop.create_task(self._answer(), context=self._variables)
        elif self._inbox_bytes > INBOX_BYTES_MAX or len(self._inbox) > INBOX_MAX:
            self.hold(True)

    def ended(self) -> None:
        """Nothing goes on: nobody would hear of it."""
        self.context.is_broken = self.context.is_broken or self.is_broken
        if self._introduction is not None:
            self._introduction.cancel()
            self._introduction = None
        self._operations.stop_all()
        self._inbox.clear()

    def lost(self) -> None:
        """It does not count any more."""
        if self._answering is not None:
            self._answering.cancel()
        if self._member is not None:
            self._member.leave()
            self._member = None
        # They know this channel of theirs.
        del self._operations

    async def close(self, code: int, reason: str) -> None:
        """Says why, and waits until the client is gone and what its operations held is given back."""
        if self.is_lost:
            return
        operations = self._operations
        # Whoever is sent away comes back elsewhere.
        self.context.is_broken = code == WSCloseCode.GOING_AWAY
        self.end(code, reason)
        await self.gone()
        await operations.close()

    def tell(self, operation_id: str, payload: bytes) -> bool:
        """One result, written at once. False, and nothing is written: what it was sent before waits."""
        return self.offer(b'{"id":%b,"type":"next","payload":%b}' % (orjson.dumps(operation_id), payload))

    async def next(self, operation_id: str, payload: bytes) -> None:
        """One result."""
        await self.send(b'{"id":%b,"type":"next","payload":%b}' % (orjson.dumps(operation_id), payload))

    async def error(self, operation_id: str, payload: bytes) -> None:
        """The operation was not carried out."""
        await self.send(b'{"id":%b,"type":"error","payload":%b}' % (orjson.dumps(operation_id), payload))

    async def complete(self, operation_id: str) -> None:
        """Nothing follows."""
        await self.send(b'{"id":%b,"type":"complete"}' % orjson.dumps(operation_id))

    async def _answer(self) -> None:
        """One message after the other, until there is none."""
        try:
            while self._inbox:
                await self._answer_one(self._inbox.pop(0))
        except _Closed as closed:
            self.end(closed.code, closed.reason)
        except ClientGone:
            pass
        except Exception as problem:
            masked(problem)
            self.end(WSCloseCode.INTERNAL_ERROR, "Something went wrong on our side")
        finally:
            self._answering = None

    async def _answer_one(self, sent: str | bytes) -> None:
        self._inbox_bytes -= len(sent)
        if isinstance(sent, bytes):
            raise _Closed(CLOSE_BAD_MESSAGE, "Messages are text")
        if not self._pace.allows_step():
            limit = self._settings.messages_per_s
            raise _Closed(WSCloseCode.POLICY_VIOLATION, f"More than {limit} messages a second")
        message = _message(sent)
        match message["type"]:
            case "subscribe":
                await self._subscribe(message)
            case "complete":
                self._operations.stop(message["id"])
            case "ping":
                await self._ping(message)
            case "connection_init":
                await self._init(message)
        if not self._inbox:
            self.hold(False)

    async def _init(self, message: dict[str, Any]) -> None:
        if self._introduction is None:
            raise _Closed(CLOSE_INIT_TWICE, "Too many initialisation requests")
        self._introduction.cancel()
        self._introduction = None
        await self._sign_in((message.get("payload") or {}).get("authorization"))
        try:
            if self._member is not None:
                self._member.sign_in()
        except Failure as refused:
            raise _Closed(WSCloseCode.POLICY_VIOLATION, refused.message) from None
        await self.send(b'{"type":"connection_ack"}')
        self._is_acknowledged = True

    async def _sign_in(self, offered: object) -> None:
        """By `connection_init`'s payload, {"authorization": "Bearer …"}, else by the handshake's header."""
        header = self._authorization if offered is None else str(offered)
        try:
            await self.context.sign_in(bearer_token(header))
        except Failure as failure:
            if failure.code is Code.UNAUTHENTICATED:
                raise _Closed(CLOSE_FORBIDDEN, "Forbidden") from failure
            raise _Closed(CLOSE_TRY_LATER, failure.message) from failure

    async def _ping(self, message: dict[str, Any]) -> None:
        """With {"authorization": "Bearer …"} the socket goes on with the token that followed its own."""
        offered = (message.get("payload") or {}).get("authorization")
        if offered is not None:
            before = self.context.viewer
            await self._sign_in(offered)
            after = self.context.viewer
            if before is None or after is None or after.session_id != before.session_id:
                raise _Closed(CLOSE_FORBIDDEN, "A socket keeps its log-in")
        await self.send(b'{"type":"pong"}')

    async def _subscribe(self, message: dict[str, Any]) -> None:
        if not self._is_acknowledged:
            raise _Closed(CLOSE_UNAUTHORIZED, "Unauthorized")
        operation_id, payload = message["id"], message["payload"]
        front = self.context.parts.front
        try:
            if front.is_overloaded():
                raise front.refusal(Kind.OPERATION)
            await self.context.budget.ask()
            request = await operation_of(payload).found(self.context.parts.documents)
            if not self.is_open:
                raise ClientGone
            self._operations.start(operation_id, request)
            # Others have a turn between two operations of one socket, however many have been sent.
            await asyncio.sleep(0)
        except OperationExists:
            raise _Closed(CLOSE_OPERATION_EXISTS, f"Subscriber for {operation_id} already exists") from None
        except Failure as refused:
            error = rendered(GraphQLError("", original_error=refused))
            await self.error(operation_id, orjson.dumps([error.formatted]))


def _message(text: str) -> dict[str, Any]:
    """A message with the fields that the protocol gives its type; a payload of null counts as none."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _Closed(CLOSE_BAD_MESSAGE, "A message must be JSON") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if not isinstance(kind, str):
        raise _Closed(CLOSE_BAD_MESSAGE, "A message must be an object with a `type`")
    if kind not in _SHAPES:
        raise _Closed(CLOSE_BAD_MESSAGE, f"There is no message of the type {kind!r}")
    if not _SHAPES[kind](message):
        raise _Closed(CLOSE_BAD_MESSAGE, f"Malformed message of the type {kind!r}")
    return message


def _may_have_payload(message: dict[str, Any]) -> bool:
    return isinstance(message.get("payload"), dict | None)


def _has_id(message: dict[str, Any]) -> bool:
    return isinstance(message.get("id"), str) and 0 < len(message["id"]) <= ID_CHARS_MAX


def _names_document(payload: dict[str, Any]) -> bool:
    extensions = payload.get("extensions")
    return payload.get("query") is None and (
        isinstance(payload.get("documentId"), str)
        or (isinstance(extensions, dict) and isinstance(extensions.get("persistedQuery"), dict))
    )


def _is_subscribe(message: dict[str, Any]) -> bool:
    payload = message.get("payload")
    return (
        _has_id(message)
        and isinstance(payload, dict)
        and (isinstance(payload.get("query"), str) or _names_document(payload))
        and isinstance(payload.get("operationName"), str | None)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("extensions"), dict | None)
    )


_SHAPES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "connection_init": _may_have_payload,
    "ping": _may_have_payload,
    "pong": _may_have_payload,
    "subscribe": _is_subscribe,
    "complete": _has_id,
}
