"""What the edge does by itself: an Envoy with small limits and nobody behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.edge.lone import alone
from topology import edge

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

LIMITS = edge.Limits(requests_per_s=1, requests_at_once=8, request_s=1, headers_kib=8)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def places(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[edge.Places]:
    async with alone(tmp_path_factory.mktemp("lone"), limits=LIMITS) as places:
        yield places


async def raw(places: edge.Places, request: bytes) -> tuple[int, Any]:
    """Status and JSON of what is answered to these bytes."""
    host, _, port = str(places.http).partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await asyncio.wait_for(reader.readuntil(b"}\n"), 10)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", 408, "TOO_SLOW"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET /graphql HTTP/1.1\r\nHost: x\r\n\r\n", 503, "UNAVAILABLE"),
        # The gateway cannot say who it is.
        (b"GET /v1/blocks/tip HTTP/1.1\r\nHost: x\r\n\r\n", 503, "UNAVAILABLE"),
        (b"GET /graphql/..%2fauthorize HTTP/1.1\r\nHost: x\r\n\r\n", 400, "BAD_REQUEST"),
    ],
    ids=["slow", "head", "gateway", "authorize", "escaped"],
)
async def test_its_own_errors_are_json(
    places: edge.Places, request_: bytes, status: int, reason: str
) -> None:
    found, body = await raw(places, request_)
    assert (found, body["details"][0]["reason"]) == (status, reason)
    assert body["details"][0]["domain"] == "satreel.edge"


async def test_an_address_may_not_ask_without_end(places: edge.Places) -> None:
    async with aiohttp.ClientSession() as client:
        for _ in range(LIMITS.requests_at_once + 1):
            async with client.get(f"http://{places.http}/nothing") as response:
                body = await response.json()
                if response.status == 429:
                    break
                assert response.status == 404
    assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert body["details"][0]["reason"] == "RATE_LIMITED"
