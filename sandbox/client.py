"""A GraphQL client as a front end is one: queries and uploads over HTTP, news over graphql-transport-ws."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

REQUEST_TIMEOUT_S = 30.0
ACK_TIMEOUT_S = 10.0
# What a proxy says of a gateway that it cannot reach.
_AWAY = {502, 503, 504}


class GraphqlError(Exception):
    """The answer has errors; `code` is that of the first."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        self.errors = errors
        self.code = str(errors[0].get("extensions", {}).get("code", ""))
        super().__init__(f"{self.code}: {errors[0].get('message')}")


class Client:
    """One person's connection to the gateway at `url`; `access_token` is theirs once they log in."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S))
        self._ids = itertools.count(1)
        self.access_token = ""

    async def close(self) -> None:
        """Closes what is open."""
        await self._http.close()

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The `data` of a query or mutation. Raises GraphqlError."""
        body = {"query": query, "variables": variables}
        async with self._http.post(f"{self._url}/graphql", json=body, headers=self._headers) as response:
            return await _answer(response)

    async def upload(
        self, query: str, file: bytes, file_name: str, mime: str, **variables: Any
    ) -> dict[str, Any]:
        """A mutation with one file, `$picture`, by the multipart specification. Raises GraphqlError."""
        form = aiohttp.FormData()
        operations = {"query": query, "variables": {**variables, "picture": None}}
        form.add_field("operations", json.dumps(operations))
        form.add_field("map", json.dumps({"0": ["variables.picture"]}))
        form.add_field("0", file, filename=file_name, content_type=mime)
        headers = {**self._headers, "X-Satreel-Preflight": "1"}
        async with self._http.post(f"{self._url}/graphql", data=form, headers=headers) as response:
            return await _answer(response)

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body of a plain GET, as a <video> element would do it: without the access token."""
        async with self._http.get(self._url + path, headers=headers) as response:
            return response.status, await response.read()

    async def follow(self, query: str, **variables: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The `data` of each event of a subscription, on a socket of its own. Raises GraphqlError.

        Close it with `aclose` (or `contextlib.aclosing`): that ends the subscription.
        """
        async with self._http.ws_connect(
            f"{self._url}/graphql", protocols=["graphql-transport-ws"], heartbeat=20
        ) as socket:
            await socket.send_json({"type": "connection_init", "payload": self._ws_payload()})
            await _expect_ack(socket)
            operation_id = str(next(self._ids))
            payload = {"query": query, "variables": variables}
            await socket.send_json({"id": operation_id, "type": "subscribe", "payload": payload})
            try:
                async for message in socket:
                    event = json.loads(message.data)
                    match event["type"]:
                        case "next":
                            yield _data(event["payload"])
                        case "error":
                            raise GraphqlError(event["payload"])
                        case "complete":
                            return
                        case "ping":
                            await socket.send_json({"type": "pong"})
            finally:
                with contextlib.suppress(ConnectionError):
                    await socket.send_json({"id": operation_id, "type": "complete"})

    def _ws_payload(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.access_token}"} if self.access_token else {}


async def _expect_ack(socket: aiohttp.ClientWebSocketResponse) -> None:
    async with asyncio.timeout(ACK_TIMEOUT_S):
        message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT or json.loads(message.data)["type"] != "connection_ack":
        raise GraphqlError(
            [{"message": f"no connection_ack but {message}", "extensions": {"code": "NO_ACK"}}]
        )


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """`data` of what the gateway answers; the edge before it has words of its own."""
    answer = await response.json()
    if "data" not in answer and "errors" not in answer:
        code = "UNAVAILABLE" if response.status in _AWAY else "NOT_GRAPHQL"
        answer = {"errors": [{"message": f"{response.status} {answer}", "extensions": {"code": code}}]}
    return _data(answer)


def _data(answer: dict[str, Any]) -> dict[str, Any]:
    if answer.get("errors"):
        raise GraphqlError(answer["errors"])
    data: dict[str, Any] = answer["data"]
    return data
