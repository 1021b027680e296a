"""JSON-RPC to a BSV node: amounts as Decimal, every call with a deadline, errors by type."""

from __future__ import annotations

import json
import socket
from decimal import Decimal
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import aiohttp

DEFAULT_TIMEOUT_S = 30.0
CONNECTIONS_MAX = 8
SATS_PER_COIN = 100_000_000


class RpcFailure(Exception):  # noqa: N818 - an answer, as much as a result is
    """A call to the node did not give a result."""


class NodeRefused(RpcFailure):
    """The node says no. `code` is its JSON-RPC error code, `reason` its text."""

    def __init__(self, method: str, code: int, reason: str) -> None:
        super().__init__(f"{method}: {code} {reason}")
        self.code = code
        self.reason = reason


class NodeUnreachable(RpcFailure):
    """No answer that can be read: whether the call had its effect is unknown."""


class NodeTimedOut(NodeUnreachable):
    """No answer within the deadline."""


class NodeLockedOut(RpcFailure):
    """Wrong user or password."""


def coins_text(sats: int) -> str:
    """Satoshis as the node reads them: whole coins with eight decimals, never through a float."""
    return f"{Decimal(sats) / SATS_PER_COIN:.8f}"


def sats_of(coins: object) -> int:
    """An amount out of a reply, in satoshis."""
    if isinstance(coins, bool) or not isinstance(coins, int | Decimal):
        raise NodeUnreachable(f"not an amount: {coins!r}")
    return int(Decimal(coins) * SATS_PER_COIN)


class NodeRpc:
    """One node. `url` may carry user and password: http://user:password@host:port."""

    def __init__(self, url: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        parts = urlsplit(url)
        self._address = f"{parts.scheme}://{parts.hostname}:{parts.port}/"
        self._authorization = aiohttp.encode_basic_auth(
            unquote(parts.username or ""), unquote(parts.password or "")
        )
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._calls = 0

    def __repr__(self) -> str:
        return f"NodeRpc({self._address})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, *params: object, timeout_s: float | None = None) -> object:
        """The result of one call. Raises NodeRefused, NodeLockedOut, NodeTimedOut or NodeUnreachable."""
        self._calls += 1
        body = json.dumps({"id": self._calls, "method": method, "params": params})
        deadline = aiohttp.ClientTimeout(total=self._timeout_s if timeout_s is None else timeout_s)
        try:
            async with self._http().post(self._address, data=body, timeout=deadline) as response:
                _acknowledge(response)
                status, text = response.status, await response.text()
        except TimeoutError as error:
            raise NodeTimedOut(f"{method}: no answer within {deadline.total} s") from error
        except aiohttp.ClientError as error:
            raise NodeUnreachable(f"{method}: {error}") from error
        if status in (401, 403):
            raise NodeLockedOut(f"{method}: the node does not accept this user and password")
        return _result(method, status, text)

    async def text(self, method: str, *params: object, timeout_s: float | None = None) -> str:
        result = await self.call(method, *params, timeout_s=timeout_s)
        if not isinstance(result, str):
            raise _unexpected(method, result, "text")
        return result

    async def integer(self, method: str, *params: object) -> int:
        result = await self.call(method, *params)
        if isinstance(result, bool) or not isinstance(result, int):
            raise _unexpected(method, result, "an integer")
        return result

    async def record(self, method: str, *params: object) -> dict[str, object]:
        result = await self.call(method, *params)
        if not isinstance(result, dict):
            raise _unexpected(method, result, "an object")
        return result

    async def texts(self, method: str, *params: object, timeout_s: float | None = None) -> list[str]:
        result = await self.call(method, *params, timeout_s=timeout_s)
        if not isinstance(result, list) or not all(isinstance(item, str) for item in result):
            raise _unexpected(method, result, "a list of texts")
        return result

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:  # made on first use, because a session belongs to the running loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                headers={"Content-Type": "application/json", "Authorization": self._authorization},
            )
        return self._session


def _acknowledge(response: aiohttp.ClientResponse) -> None:
    """At once: the node sends the body when its head is acknowledged, which Linux puts off by 40 ms."""
    transport = response.connection.transport if response.connection is not None else None
    line = transport.get_extra_info("socket") if transport is not None else None
    if line is not None and hasattr(socket, "TCP_QUICKACK"):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _unexpected(method: str, result: object, expected: str) -> NodeUnreachable:
    return NodeUnreachable(f"{method}: the node answered {type(result).__name__}, expected {expected}")


def _result(method: str, status: int, text: str) -> object:
    try:
        reply = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise NodeUnreachable(f"{method}: HTTP {status} without JSON") from error
    if not isinstance(reply, dict):
        raise NodeUnreachable(f"{method}: HTTP {status} without a reply object")
    match reply.get("error"):
        case None:
            return reply.get("result")
        case {"code": int(code), "message": str(reason)}:
            raise NodeRefused(method, code, reason)
        case other:
            raise NodeUnreachable(f"{method}: error of unknown shape: {other!r}")
