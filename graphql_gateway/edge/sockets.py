"""graphql-transport-ws: Strawberry's handler, strict about what clients send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from graphql import GraphQLError
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message, SubscribeMessage

from graphql_gateway.context import Context
from graphql_gateway.errors import masked
from mesh.errors import Failure

HEARTBEAT_S = 20.0
# RFC 6455: a close frame holds 125 bytes, two of them the code.
REASON_BYTES_MAX = 123
ID_CHARS_MAX = 128
CLOSE_BAD_MESSAGE = 4400
CLOSE_TRY_LATER = 1013


class SatreelSocketAdapter(AiohttpWebSocketAdapter):
    """Sends to those who read, and closes with a reason that fits."""

    def __init__(self, *given: Any, send_s: float) -> None:
        super().__init__(*given)
        # Results that nobody takes wait in our memory, and pongs alone would keep their socket open.
        self._send_s = send_s

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Raises WebSocketDisconnected when the client is gone or takes nothing for `send_s`."""
        try:
            async with asyncio.timeout(self._send_s):
                await super().send_json(message)
        except (ConnectionError, TimeoutError) as gone:
            if self.request.transport is not None:
                self.request.transport.abort()
            raise WebSocketDisconnected from gone

    async def close(self, code: int, reason: str) -> None:
        """Cuts the reason between characters."""
        await super().close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))


class SatreelSocket(BaseGraphQLTransportWSHandler[Context, None]):
    """One WebSocket."""

    async def handle_message(self, message: Message) -> None:
        """Refuses malformed messages with 4400; without identity the socket is asked to come back later."""
        if not is_well_formed(message):
            await self.handle_invalid_message("Malformed message")
            return
        try:
            await super().handle_message(message)
        except Failure as failure:
            await self.websocket.close(CLOSE_TRY_LATER, failure.message)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """As Strawberry does it, but the limit has a code."""
        limit = self.max_subscriptions_per_connection
        if limit is None or len(self.operations) < limit or not self.connection_acknowledged:
            await super().handle_subscribe(message)
            return
        error = GraphQLError(
            f"A WebSocket runs at most {limit} operations.", extensions={"code": "TOO_MANY_SUBSCRIPTIONS"}
        )
        await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})

    async def handle_task_exception(self, error: Exception) -> None:
        """Logs what is ours; a client that left is no error."""
        if not isinstance(error, WebSocketDisconnected):
            masked(error)

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:  # noqa: ARG004 - as overridden
        # A document with a mistake is an `error` message, not the end of the socket.
        return None


def is_well_formed(message: Any) -> bool:
    """Whether a message has the fields that the protocol gives its type. A payload of null counts as none."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return False
    if message.get("payload") is None:
        message.pop("payload", None)
    check = _Shapes.BY_TYPE.get(message["type"])
    return check is None or check(message)


class _Shapes:
    @staticmethod
    def with_payload(message: dict[str, Any]) -> bool:
        return isinstance(message.get("payload"), dict | None)

    @staticmethod
    def with_id(message: dict[str, Any]) -> bool:
        return isinstance(message.get("id"), str) and 0 < len(message["id"]) <= ID_CHARS_MAX

    @staticmethod
    def subscribe(message: dict[str, Any]) -> bool:
        payload = message.get("payload")
        return (
            _Shapes.with_id(message)
            and isinstance(payload, dict)
            and isinstance(payload.get("query"), str)
            and isinstance(payload.get("operationName"), str | None)
            and isinstance(payload.get("variables"), dict | None)
            and isinstance(payload.get("extensions"), dict | None)
        )

    BY_TYPE: ClassVar[dict[str, Callable[[dict[str, Any]], bool]]] = {
        "connection_init": with_payload,
        "ping": with_payload,
        "pong": with_payload,
        "subscribe": subscribe,
        "complete": with_id,
    }
