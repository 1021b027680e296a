"""Which web pages may use the gateway: CORS, and requests that browsers send without asking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.client import Client
from tests.gateway.world import opened

APP = "https://app.example"
TIP = {"query": "{ tip { height } }"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with opened(tmp_path, allowed_origins=[APP]) as world:
        yield world.client


def asked(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }


async def test_pages_of_allowed_origins_may_ask_and_read(client: Client) -> None:
    answer = await client.send("OPTIONS", headers=asked(APP))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    answer = await client.send("POST", json=TIP, headers={"Origin": APP})
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert "Origin" in answer.headers.getall("Vary")
    # Refusals are read too, and streams.
    refused = await client.send("POST", json={}, headers={"Origin": APP})
    assert refused.headers["Access-Control-Allow-Origin"] == APP
    stream = await client.send("POST", json=TIP, headers={"Origin": APP, "Accept": "text/event-stream"})
    assert stream.headers["Access-Control-Allow-Origin"] == APP


async def test_pages_of_other_origins_may_not(client: Client) -> None:
    for origin in ("https://evil.example", "https://app.example.evil", "http://app.example", "null"):
        answer = await client.send("OPTIONS", headers=asked(origin))
        assert (answer.status, answer.code) == (403, "FOREIGN_ORIGIN"), origin
        answer = await client.send("POST", json=TIP, headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers
    # OPTIONS of anybody else is a method like any other.
    assert (await client.send("OPTIONS")).status == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 400),
        ({"Sec-Fetch-Site": "same-site"}, 400),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 400),
        ({"Sec-Fetch-Site": "cross-site", "Origin": APP}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Apollo-Require-Preflight": "1"}, 200),
    ],
)
async def test_a_get_that_a_foreign_page_makes_unseen_is_refused(
    client: Client, headers: dict[str, str], status: int
) -> None:
    answer = await client.send("GET", params=TIP, headers=headers)
    assert answer.status == status
    if status != 200:
        assert answer.code == "PREFLIGHT_REQUIRED"


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-evil",
    ],
)
async def test_a_post_that_browsers_send_unasked_does_nothing(client: Client, kind: str) -> None:
    answer = await client.send(
        "POST", data=b'{"query": "{ tip { height } }"}', headers={"Content-Type": kind}
    )
    assert answer.status in {400, 401, 415}
