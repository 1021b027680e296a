"""What the edge does by itself: an Envoy with small limits and nobody behind it."""

from __future__ import annotations

import asyncio
import contextlib
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

from mesh.authority import Authority
from tests.edge.lone import alone
from tests.logs import entries
from topology import edge
from topology.edge import clusters
from topology.upstreams import cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
    answer = await asyncio.wait_for(reader.readuntil(b"}\n"), 30)
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
    done, waiting = await asyncio.wait(closed, timeout=30, return_when=asyncio.FIRST_COMPLETED)
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

    async def connected() -> asyncio.StreamWriter:
        while True:
            # Those that the test before has closed may count still.
            with contextlib.suppress(ConnectionError):
                _, writer = await asyncio.open_connection(
                    host, int(port), ssl=trusting, server_hostname="localhost"
                )
                return writer
            await asyncio.sleep(0.05)

    async def shown() -> bytes:
        writer = await connected()
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    before = await shown()
    with tempfile.TemporaryDirectory(dir=places.tls.parent) as fresh:
        for name in ("ca.pem", "ca.key"):
            shutil.copy(places.tls / name, fresh)
        Authority.open(Path(fresh)).issue("edge")
        for name in ("edge.key", "edge.pem"):
            (Path(fresh) / name).replace(places.tls / name)
    for _ in range(600):
        if await shown() != before:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the old certificate is still shown")


async def test_an_address_may_not_ask_without_end(tmp_path: Path) -> None:
    # So that others need not wait until they may ask again.
    async with alone(tmp_path, limits=LIMITS) as at, aiohttp.ClientSession() as client:
        for _ in range(30 * LIMITS.requests_at_once):
            async with client.get(f"http://{at.http}/nothing") as response:
                body = await response.json()
                if response.status == 429:
                    break
                assert response.status == 404
    assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert body["details"][0]["reason"] == "RATE_LIMITED"


async def test_a_line_of_the_log_is_true_and_short_whatever_clients_write(tmp_path: Path) -> None:
    long = "x" * 9_000
    async with alone(tmp_path) as at, aiohttp.ClientSession(f"http://{at.http}") as client:
        forged = {"traceparent": long, "x-envoy-original-method": long, "user-agent": long}
        async with client.get(f"/{long}", headers=forged) as answer:
            assert answer.status == 404
        log = tmp_path / "logs" / "edge.log"
        while not (lines := entries(log)):
            await asyncio.sleep(0.05)
    told = lines[0]
    assert len(json.dumps(told)) < 2_000
    assert (told["method"], told["path"][:4]) == ("GET", "/xxx")


async def test_more_than_is_borne_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "cluster", lambda *whom, **told: cluster(*whom, **{**told, "calls": 0}))
    async with alone(tmp_path) as at, aiohttp.ClientSession(f"http://{at.http}") as client:
        async with client.get("/graphql") as answer:
            body = await answer.json()
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert (body["code"], body["details"][0]["reason"]) == (8, "OVERLOADED")
        for kind in ("application/grpc", "application/grpc-web+proto"):
            async with client.post("/graphql", headers={"Content-Type": kind}) as answer:
                assert (answer.status, answer.headers["grpc-status"]) == (200, "8")
                assert answer.headers["Content-Type"] == kind


@pytest.mark.parametrize("size", [b"Content-Length: 10000", b"Transfer-Encoding: chunked"])
async def test_an_address_may_not_have_many_large_requests_under_way(tmp_path: Path, size: bytes) -> None:
    limits = edge.Limits(large_per_s=1, large_at_once=3)
    slow = b"POST /graphql HTTP/1.1\r\nHost: x\r\n" + size + b"\r\n\r\n"
    async with alone(tmp_path, limits=limits) as at:
        host, _, port = str(at.http).partition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
        for _, writer in opened:
            writer.write(slow)
        answers = [asyncio.create_task(reader.readline()) for reader, _ in opened]
        done, waiting = await asyncio.wait(answers, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in done} == {b"HTTP/1.1 429 Too Many Requests\r\n"}
        # What is small, and others, go on.
        assert (await raw(at, b"GET /graphql HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 503
        assert (await raw(at, b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}       "))[
            0
        ] == 404
        other = await asyncio.open_connection(host, int(port), local_addr=("127.0.0.9", 0))
        other[1].write(b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n" + bytes(10_000))
        assert await other[0].readline() == b"HTTP/1.1 404 Not Found\r\n"
        # A body where none belongs is not kept.
        said = b"GET /v1/no HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n801\r\n" + bytes(2_049)
        assert (await raw(at, said))[0] == 413
        for _, writer in [*opened, other]:
            writer.close()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_address_may_not_have_many_large_answers_under_way(tmp_path: Path) -> None:
    limits = edge.Limits(pages_per_s=1, pages_at_once=3)
    async with alone(tmp_path, limits=limits) as at, aiohttp.ClientSession(f"http://{at.http}") as client:

        async def status(path: str) -> int:
            async with client.get(path) as answer:
                return answer.status

        asked = [status("/openapi.json?x") for _ in range(50)]
        assert set(await asyncio.gather(*asked)) == {200, 429}
        # What is small goes on.
        assert await status("/docs") == 404


async def test_a_network_of_ipv6_is_one_address(tmp_path: Path) -> None:
    async with alone(tmp_path, proxies_before=1, limits=LIMITS) as at, aiohttp.ClientSession() as client:

        async def status(address: str) -> int:
            said = {"X-Forwarded-For": address}
            async with client.get(f"http://{at.http}/no", headers=said) as answer:
                return answer.status

        found = [await status("2001:db8::1")]
        while found[-1] != 429:
            assert found[-1] == 404
            found.append(await status(f"2001:db8::{len(found):x}:1"))
        assert await status("2001:db8:0:1::1") == 404, "another network"


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
