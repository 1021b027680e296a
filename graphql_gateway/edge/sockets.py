"""graphql-transport-ws, strictly.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import strawberry
from aiohttp import WSCloseCode, WSMsgType, web
from graphql import GraphQLError

from graphql_gateway.config import GatewaySettings
from graphql_gateway.context import Context
from graphql_gateway.edge.authentication import bearer_token
from graphql_gateway.edge.connected import CLOSE_FORBIDDEN
from graphql_gateway.edge.operations import ClientGone, OperationExists, Operations
from graphql_gateway.edge.requests import OPERATION_BYTES_MAX, operation_of
from graphql_gateway.errors import rendered
from graphql_gateway.safety.pace import Pace
from mesh.errors import Code, Failure

PROTOCOL = "graphql-transport-ws"
# Time that a client has to answer our close frame.
CLOSE_S = 3.0
# RFC 6455: a close frame holds 125 bytes, two of them the code.
REASON_BYTES_MAX = 123
ID_CHARS_MAX = 128
# With less to be taken than half of what asyncio lets wait (64 KiB), a message is written without waiting.
AT_ONCE_BYTES = 32_768

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


class Socket:
    """One WebSocket: a connection that operations run on, and their channel."""

    def __init__(
        self, request: web.Request, schema: strawberry.Schema, context: Context, settings: GatewaySettings
    ) -> None:
        self.context = context
        self._request = request
        self._settings = settings
        self.response = web.WebSocketResponse(
            protocols=(PROTOCOL,),
            # Finds peers that are dead: a pong must come within half of the time.
            heartbeat=settings.ping_s,
            max_msg_size=OPERATION_BYTES_MAX,
            timeout=CLOSE_S,
            # It would take more memory than all else of a socket.
            compress=False,
        )
        self._pace = Pace(settings.messages_per_s, asyncio.get_running_loop().time)
        self._operations = Operations(schema, context, self, maximum=settings.subscriptions_per_socket_max)
        self._handlers: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "ping": self._ping,
            "pong": _nothing,
            "subscribe": self._subscribe,
            "complete": self._complete,
            "connection_init": self._init_again,
        }

    async def serve(self, admit: Callable[[], None]) -> None:
        """Speaks with the client until one of both closes. `admit` raises a Failure once it has signed in."""
        await self.response.prepare(self._request)
        if self._request.transport is not None:
            # As soon as `tell` refuses, there is something to wait for.
            self._request.transport.set_write_buffer_limits(high=AT_ONCE_BYTES)
        try:
            await self._be_introduced(admit)
            while True:
                message = await self._receive()
                await self._handlers[message["type"]](message)
        except _Closed as closed:
            await self.close(closed.code, closed.reason)
        except ClientGone:
            pass
        finally:
            await self._operations.close()

    async def close(self, code: int, reason: str) -> None:
        """Says why; the reason is cut between characters."""
        if not self.response.prepared:
            return
        self.context.is_broken = code == WSCloseCode.GOING_AWAY
        # Nothing may be sent after the close frame.
        self._operations.stop_all()
        cut = reason.encode(errors="replace")[:REASON_BYTES_MAX].decode(errors="ignore").encode()
        await self.response.close(code=code, message=cut)

    async def send(self, message: bytes) -> None:
        """A text message. Raises ClientGone when the client left or takes nothing for `send_s`."""
        transport = self._request.transport
        try:
            if transport is not None and transport.get_write_buffer_size() + len(message) < AT_ONCE_BYTES:
                await self.response.send_frame(message, WSMsgType.TEXT)
                return
            async with asyncio.timeout(self._settings.send_s):
                await self.response.send_frame(message, WSMsgType.TEXT)
        except (ConnectionError, TimeoutError) as gone:
            self._abort()
            raise ClientGone from gone

    def tell(self, operation_id: str, payload: bytes) -> bool:
        """One result, written at once. False, and nothing is written: what it was sent before waits."""
        transport = self._request.transport
        if transport is None or transport.is_closing() or self.response.closed:
            return False
        if transport.get_write_buffer_size() > AT_ONCE_BYTES:
            return False
        transport.write(
            frame(b'{"id":%b,"type":"next","payload":%b}' % (orjson.dumps(operation_id), payload))
        )
        return True

    async def drained(self) -> None:
        """Once `tell` writes again. Raises ClientGone when the client left or takes nothing for `send_s`."""
        try:
            async with asyncio.timeout(self._settings.send_s):
                # Does nothing but wait for as long as the transport asks for it.
                await self._request.protocol._drain_helper()  # noqa: SLF001 - a frame would have to be written else
        except (ConnectionError, TimeoutError) as gone:
            self._abort()
            raise ClientGone from gone
        if self.response.closed:
            raise ClientGone

    async def next(self, operation_id: str, payload: bytes) -> None:
        """One result."""
        await self.send(b'{"id":%b,"type":"next","payload":%b}' % (orjson.dumps(operation_id), payload))

    async def error(self, operation_id: str, payload: bytes) -> None:
        """The operation was not carried out."""
        await self.send(b'{"id":%b,"type":"error","payload":%b}' % (orjson.dumps(operation_id), payload))

    async def complete(self, operation_id: str) -> None:
        """Nothing follows."""
        await self.send(b'{"id":%b,"type":"complete"}' % orjson.dumps(operation_id))

    def _abort(self) -> None:
        """What nobody takes waits in our memory, and pongs alone would keep the socket open."""
        self.context.is_broken = True
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _be_introduced(self, admit: Callable[[], None]) -> None:
        if self.response.ws_protocol != PROTOCOL:
            raise _Closed(CLOSE_NO_SUCH_PROTOCOL, "Subprotocol not acceptable")
        try:
            async with asyncio.timeout(self._settings.connection_init_timeout_s):
                init = await self._first_init()
        except TimeoutError:
            raise _Closed(CLOSE_INIT_TIMEOUT, "Connection initialisation timeout") from None
        await self._sign_in((init.get("payload") or {}).get("authorization"))
        try:
            admit()
        except Failure as refused:
            raise _Closed(WSCloseCode.POLICY_VIOLATION, refused.message) from None
        await self.send(b'{"type":"connection_ack"}')

    async def _first_init(self) -> dict[str, Any]:
        while (message := await self._receive())["type"] != "connection_init":
            if message["type"] == "subscribe":
                raise _Closed(CLOSE_UNAUTHORIZED, "Unauthorized")
            await self._handlers[message["type"]](message)
        return message

    async def _sign_in(self, offered: object) -> None:
        """By `connection_init`'s payload, {"authorization": "Bearer …"}, else by the handshake's header."""
        header = self._request.headers.get("Authorization", "") if offered is None else str(offered)
        try:
            await self.context.sign_in(bearer_token(header))
        except Failure as failure:
            if failure.code is Code.UNAUTHENTICATED:
                raise _Closed(CLOSE_FORBIDDEN, "Forbidden") from failure
            raise _Closed(CLOSE_TRY_LATER, failure.message) from failure

    async def _receive(self) -> dict[str, Any]:
        """What the client says next, checked. Raises _Closed; ClientGone when it says no more."""
        frame = await self.response.receive()
        if frame.type is WSMsgType.BINARY:
            raise _Closed(CLOSE_BAD_MESSAGE, "Messages are text")
        if frame.type is not WSMsgType.TEXT:
            self.context.is_broken = self.context.is_broken or frame.type is not WSMsgType.CLOSE
            raise ClientGone
        if not self._pace.allows_step():
            limit = self._settings.messages_per_s
            raise _Closed(WSCloseCode.POLICY_VIOLATION, f"More than {limit} messages a second")
        return _message(frame.data)

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

    async def _init_again(self, _message: dict[str, Any]) -> None:
        raise _Closed(CLOSE_INIT_TWICE, "Too many initialisation requests")

    async def _complete(self, message: dict[str, Any]) -> None:
        self._operations.stop(message["id"])

    async def _subscribe(self, message: dict[str, Any]) -> None:
        operation_id, payload = message["id"], message["payload"]
        try:
            await self.context.budget.ask()
            request = await operation_of(payload).found(self.context.parts.documents)
            self._operations.start(operation_id, request)
            # Others have a turn between two operations of one socket, however many have been sent.
            await asyncio.sleep(0)
        except OperationExists:
            raise _Closed(CLOSE_OPERATION_EXISTS, f"Subscriber for {operation_id} already exists") from None
        except Failure as refused:
            error = rendered(GraphQLError("", original_error=refused))
            await self.error(operation_id, orjson.dumps([error.formatted]))


def frame(message: bytes) -> bytes:
    """An unmasked frame with a whole text message, as servers send it (RFC 6455, 5.2)."""
    length = len(message)
    if length < 126:
        return b"\x81%c%b" % (length, message)
    if length < 65_536:
        return b"\x81\x7e%b%b" % (length.to_bytes(2), message)
    return b"\x81\x7f%b%b" % (length.to_bytes(8), message)


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


async def _nothing(_message: dict[str, Any]) -> None:
    pass


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
