"""GraphQL as front ends speak it, and as they should not."""

from __future__ import annotations

import asyncio
import email.parser
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

import aiohttp
import yarl

# For what must come, on a busy machine too.
WAIT_S = 120.0
PROTOCOL = "graphql-transport-ws"


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The extensions of the first error, with its message."""
        first = self.json["errors"][0]
        return {"message": first["message"], **first["extensions"]}

    @property
    def code(self) -> str:
        return str(self.error["code"])


class Client:
    """Over HTTP and WebSockets."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def send(self, method: str, path: str = "/graphql", **given: Any) -> Answer:
        async with self._http.request(method, self.url + path, **given) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, query: str, variables: Any = None, *, token: str = "", **more: Any) -> Answer:
        body = {"query": query, "variables": variables, **more}
        return await self.send("POST", json=body, headers=bearer(token))

    async def ask(self, query: str, variables: Any = None, *, token: str = "") -> Any:
        """The data of an answer without errors."""
        answer = await self.post(query, variables, token=token)
        assert "errors" not in answer.json, answer.json
        return answer.json["data"]

    async def fail(self, query: str, variables: Any = None, *, token: str = "") -> dict[str, Any]:
        """The first error of an answer."""
        return (await self.post(query, variables, token=token)).error

    async def begin(self, headers: dict[str, str], body: bytes = b"") -> Answer:
        """A POST whose body stays without an end."""
        url = yarl.URL(self.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = {"Host": "gateway", "Content-Length": "9000000", **headers}
        lines = ["POST /graphql HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        try:
            async with asyncio.timeout(WAIT_S):
                status = int((await reader.readline()).split()[1])
                told = email.parser.BytesParser().parsebytes(await reader.readuntil(b"\r\n\r\n"))
                return Answer(status, told, await reader.readexactly(int(told["Content-Length"])))
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def events(
        self, query: str, *, method: str = "POST", path: str = "/graphql", token: str = "", **given: Any
    ) -> AsyncIterator[Events]:
        """An event stream of its own for one operation; with `given`, of another request."""
        request = given or {"json": {"query": query}}
        headers = {"Accept": "text/event-stream", **bearer(token), **request.pop("headers", {})}
        async with self._http.request(method, self.url + path, headers=headers, **request) as response:
            yield Events(response)

    @asynccontextmanager
    async def socket(
        self, token: str = "", *, ack: bool = True, protocol: str = PROTOCOL, **given: Any
    ) -> AsyncIterator[Socket]:
        """A WebSocket, acknowledged unless told otherwise."""
        async with self._http.ws_connect(f"{self.url}/graphql", protocols=[protocol], **given) as ws:
            socket = Socket(ws)
            if ack:
                payload = {"authorization": f"Bearer {token}"} if token else None
                await socket.send(type="connection_init", payload=payload)
                assert await socket.next() == {"type": "connection_ack"}
            yield socket


class Events:
    """One event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def line(self) -> bytes:
        """The next line, without its end; nothing at the stream's end."""
        async with asyncio.timeout(WAIT_S):
            return (await self.response.content.readline()).rstrip(b"\n")

    async def next(self) -> tuple[str, Any]:
        """Name and data of the next event."""
        name = ""
        while not name:
            line = await self.line()
            assert line in {b"", b":"} or line.startswith(b"event: "), line
            assert not self.response.content.at_eof(), "the stream ended"
            name = line.removeprefix(b"event: ").decode().strip(":")
        data = (await self.line()).removeprefix(b"data: ")
        assert await self.line() == b""
        return name, json.loads(data) if data else None

    async def data(self) -> Any:
        """The data of the next result, which must have no errors."""
        name, result = await self.next()
        assert (name, "errors" in result) == ("next", False), result
        return result["data"]

    async def until_ended(self) -> bytes:
        """What comes before the stream ends, as it should."""
        async with asyncio.timeout(WAIT_S):
            return await self.response.content.read()

    @property
    def _transport(self) -> asyncio.Transport:
        assert self.response.connection is not None
        assert isinstance(self.response.connection.transport, asyncio.Transport)
        return self.response.connection.transport

    def vanish(self) -> None:
        """The connection breaks without a word."""
        self._transport.abort()

    def stop_reading(self) -> None:
        """What the gateway sends from now on stays on its side."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._transport.pause_reading()

    def go_on_reading(self) -> None:
        """After `stop_reading`."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._transport.resume_reading()


class Socket:
    """One WebSocket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def send(self, **message: Any) -> None:
        await self.ws.send_str(json.dumps(message))

    async def subscribe(self, query: str, variables: Any = None, *, as_id: str = "1") -> None:
        await self.send(id=as_id, type="subscribe", payload={"query": query, "variables": variables})

    async def next(self) -> Any:
        """The next message."""
        async with asyncio.timeout(WAIT_S):
            message = await self.ws.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self.ws.close_code)
        return json.loads(message.data)

    async def data(self) -> Any:
        """The data of the next event, which must have no errors."""
        message = await self.next()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]

    async def quiet(self, seconds: float) -> None:
        """Nothing comes for that long."""
        try:
            async with asyncio.timeout(seconds):
                message = await self.ws.receive()
        except TimeoutError:
            return
        raise AssertionError(message)

    async def code(self) -> str:
        """The code of the error that comes next, in an `error` message or in an event."""
        message = await self.next()
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        return str(errors[0]["extensions"]["code"])

    @property
    def _transport(self) -> asyncio.Transport:
        connection = self.ws._response.connection
        assert connection is not None
        return cast("asyncio.Transport", connection.transport)  # uvloop's is no subclass

    def write(self, frames: bytes) -> None:
        """As they are."""
        self._transport.write(frames)

    def vanish(self) -> None:
        """The connection breaks without a word."""
        self._transport.abort()

    def stop_reading(self) -> None:
        """What the gateway sends from now on stays on its side."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._transport.pause_reading()

    def go_on_reading(self) -> None:
        """After `stop_reading`."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._transport.resume_reading()

    @property
    def port(self) -> int:
        """Of our end."""
        return int(self._transport.get_extra_info("sockname")[1])

    async def until_closed(self) -> int:
        """The code that the socket is closed with, whatever comes before."""
        async for _ in self.ws:
            pass
        return self.ws.close_code or 0

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame that comes next."""
        async with asyncio.timeout(WAIT_S):
            message = await self.ws.receive()
        assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}, message
        # The client's own is another one when the server is gone before it is answered.
        told = message.data if message.type is aiohttp.WSMsgType.CLOSE else self.ws.close_code
        return told or 0, str(message.extra or "")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
