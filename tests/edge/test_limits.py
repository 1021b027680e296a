"""What the edge does by itself: an Envoy with small limits and nobody behind it."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from mesh import tls
from tests.edge.lone import alone
from topology import edge

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

LIMITS = edge.Limits(connections=20, requests_per_s=1, requests_at_once=8, request_s=3, headers_kib=8)


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


async def test_connections_are_bounded(places: edge.Places) -> None:
    host, _, port = str(places.http).partition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(LIMITS.connections + 1)]
    closed = [asyncio.create_task(reader.read()) for reader, _ in opened]
    done, waiting = await asyncio.wait(closed, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    # Some that tests before left may count still.
    assert done
    assert len(waiting) <= LIMITS.connections
    for _, writer in opened:
        writer.close()
    await asyncio.wait(closed)


async def test_monitors_may_ask_two_things_and_stop_nothing(places: edge.Places) -> None:
    host, _, port = str(places.http).partition(":")
    # Also while strangers have all connections that there are.
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(LIMITS.connections + 1)]
    try:
        async with aiohttp.ClientSession(f"http://{places.monitor}") as client:

            async def ask(method: str, path: str) -> tuple[int, str]:
                async with client.request(method, URL(path, encoded=True)) as response:
                    return response.status, await response.text()

            assert await ask("GET", "/ready") == (200, "LIVE\n")
            status, numbers = await ask("GET", "/stats/prometheus")
            assert status == 200
            assert 'envoy_cluster_upstream_rq_active{envoy_cluster_name="gateway"}' in numbers
            for method, path in (
                ("POST", "/quitquitquit"),
                ("POST", "/ready"),
                ("POST", "/stats/prometheus"),
                ("GET", "/config_dump"),
                ("GET", "/certs"),
                ("GET", "/ready/../certs"),
                ("GET", "/stats"),
            ):
                assert (await ask(method, path))[0] == 404, path
            assert (await ask("GET", "/ready%2f..%2fcerts"))[0] == 400
            assert await ask("GET", "/ready") == (200, "LIVE\n")
    finally:
        for _, writer in opened:
            writer.close()


async def test_a_renewed_certificate_is_shown_without_a_restart(places: edge.Places) -> None:
    host, _, port = places.https.partition(":")
    trusting = ssl.create_default_context(cafile=str(places.tls / "ca.pem"))

    async def shown() -> bytes:
        _, writer = await asyncio.open_connection(host, int(port), ssl=trusting, server_hostname="localhost")
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    before = await shown()
    with tempfile.TemporaryDirectory(dir=places.tls.parent) as fresh:
        for name in ("ca.pem", "ca.key"):
            shutil.copy(places.tls / name, fresh)
        tls.Authority.open(Path(fresh)).issue("edge")
        for name in ("edge.key", "edge.pem"):
            (Path(fresh) / name).replace(places.tls / name)
    for _ in range(100):
        if await shown() != before:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the old certificate is still shown")


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


async def test_behind_a_proxy_of_ours_a_client_is_who_it_names(tmp_path: Path) -> None:
    denied = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}

    async def status(at: edge.Places) -> int:
        url = f"http://{at.http}/no"
        async with aiohttp.ClientSession() as client, client.get(url, headers=denied) as answer:
            return answer.status

    (tmp_path / "edge").mkdir()
    edge.place(tmp_path / "edge", edge.resource(deny=["203.0.113.7"]))
    async with alone(tmp_path, proxies_before=1) as behind:
        assert await status(behind) == 403
    (tmp_path / "other" / "edge").mkdir(parents=True)
    edge.place(tmp_path / "other" / "edge", edge.resource(deny=["203.0.113.7"]))
    async with alone(tmp_path / "other") as first:
        assert await status(first) == 404, "anybody may write that header"
