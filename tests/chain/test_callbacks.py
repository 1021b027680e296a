"""Callbacks of ARC: taken with the token only, and then as no more than a hint."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from services.chain.adapters.callbacks import BODY_BYTES_MAX, HINTS_MAX, Callbacks, open_callbacks
from tests.chain.outside import hints_now

TOKEN = "the-right-one"
TXID = "ab" * 32


@dataclass
class Place:
    callbacks: Callbacks
    url: str
    http: aiohttp.ClientSession

    async def call(self, body: object, token: str | None = TOKEN) -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        async with self.http.post(self.url, headers=headers, **data) as reply:
            return reply.status

    async def hints(self) -> list[str]:
        return list(await hints_now(self.callbacks))


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    async with open_callbacks("127.0.0.1:0", TOKEN) as (callbacks, url), aiohttp.ClientSession() as http:
        yield Place(callbacks, url, http)


async def test_a_callback_is_a_hint_however_often_it_comes(place: Place) -> None:
    for status in ("SEEN_ON_NETWORK", "MINED", "REJECTED"):
        assert await place.call({"txid": TXID, "txStatus": status, "blockHeight": 5}) == 200
    batch = {"count": 2, "callbacks": [{"txid": "cd" * 32, "txStatus": "MINED"}, {"txid": TXID}]}
    assert await place.call(batch) == 200
    assert await place.hints() == [TXID, "cd" * 32]
    assert await place.call({"txid": TXID}) == 200  # replayed: asked about again, nothing else
    assert await place.hints() == [TXID]


@pytest.mark.parametrize("token", [None, "", "the-wrong-one", TOKEN + "x", TOKEN[:-1], "ü"])
async def test_without_the_token_nothing_is_taken(place: Place, token: str | None) -> None:
    assert await place.call({"txid": TXID, "txStatus": "MINED"}, token) == 401
    assert await place.hints() == []


async def test_a_token_of_other_bytes_is_wrong_as_any_other(place: Place) -> None:
    address = urlsplit(place.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST {address.path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n".encode()
    writer.write(head + b"Authorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n{}")
    assert (await reader.readline()).split()[1] == b"401"
    writer.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        [],
        {},
        None,
        {"txid": 5},
        {"txid": TXID.upper()},
        {"txid": TXID + "00"},
        {"txid": "../" + TXID[3:]},
        {"callbacks": [{"txid": "no"}]},
        {"callbacks": [{"txid": TXID}] * 1001},
        b'{"txid": "' + b"a" * 100,
    ],
)
async def test_what_is_no_callback_is_not_taken(place: Place, body: object) -> None:
    assert await place.call(body) == 400
    assert await place.hints() == []


async def test_bodies_and_waiting_hints_are_bounded(place: Place) -> None:
    assert await place.call(b" " * (BODY_BYTES_MAX + 1)) == 413
    for start in range(0, HINTS_MAX, 1000):
        batch = {"callbacks": [{"txid": f"{number:064x}"} for number in range(start, start + 1000)]}
        assert await place.call(batch) == 200
    assert await place.call({"txid": TXID}) == 503


async def test_who_does_not_lead_takes_none(place: Place) -> None:
    assert await place.call({"txid": TXID}) == 200
    place.callbacks.take(False)
    assert await place.call({"txid": TXID}) == 503
    assert await place.call({"txid": TXID}, "the-wrong-one") == 401
    place.callbacks.take(True)
    assert await place.hints() == [], "of another's time"
    assert await place.call({"txid": TXID}) == 200
    assert await place.hints() == [TXID]


async def test_there_is_one_place_and_one_way_to_call(place: Place) -> None:
    async with place.http.get(place.url) as reply:
        assert reply.status == 405
    async with place.http.post(place.url + "/x") as reply:
        assert reply.status == 404
