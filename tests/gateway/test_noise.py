"""Requests that no program would send: each is answered with 4xx, or carried out; never with 5xx."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.client import Client
from tests.gateway.test_uploads import BOUNDARY, PREFLIGHT, body
from tests.gateway.world import World, token_of

REQUESTS = 150
MEMES = "query M($first: Int, $after: String) { memes(first: $first, after: $after) { nodes { id name } } }"
GOOD: dict[str, Any] = {
    "query": MEMES,
    "operationName": "M",
    "variables": {"first": 2, "after": None},
    "extensions": {"operationId": "1"},
}
# Texts of JSON, some of which are none.
ODD = (
    "null", "true", "7", "-0", "1e999", "-1e999", "NaN", "Infinity", "9" * 10_000, "0." + "1" * 10_000,
    '""', '"text"', '"\\ud800"', '"\\u0000"', '"\\uffff"', "[]", "{}", '{"a": 1}', "[" * 5_000,
    '{"a":' * 5_000, '{"first": ' + "9" * 10_000 + "}", '{"first": 2147483648}', '{"first": 1.5}',
    '{"after": "\\u0000"}', '{"__proto__": 1}', '{"": null}', '"{"', '"{ __typename }"', '"query M { a }"',
    '"' + "{" * 3_000 + '"', '"' + "#" * 100_000 + '"',
)  # fmt: skip


def mutated(dice: random.Random, text: bytes) -> bytes:
    """The text with a few bytes lost, doubled or changed."""
    noise = bytearray(text)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(noise))
        match dice.randrange(3):
            case 0:
                noise[at : at + dice.randint(1, 20)] = b""
            case 1:
                noise[at:at] = noise[at : at + dice.randint(1, 20)]
            case _:
                noise[at] = dice.randrange(256)
        noise = noise or bytearray(b"{")
    return bytes(noise)


def bodies(dice: random.Random) -> Iterator[bytes]:
    """JSON bodies: a good one with odd values in it, or with broken bytes."""
    for name in GOOD:
        for value in ODD:
            parts = {key: json.dumps(good) for key, good in GOOD.items()} | {name: value}
            yield ("{" + ",".join(f'"{key}":{part}' for key, part in parts.items()) + "}").encode()
    for _ in range(REQUESTS):
        yield mutated(dice, json.dumps(GOOD).encode())


@pytest.mark.parametrize("seed", range(2))
async def test_bodies(world: World, client: Client, seed: int) -> None:
    kinds = ("application/json", "application/graphql-response+json")
    for number, noise in enumerate(bodies(random.Random(seed))):
        headers = {"Content-Type": "application/json", "Accept": kinds[number % 2]}
        answer = await client.send("POST", data=noise, headers=headers)
        assert answer.status < 500, (noise[:300], answer.body[:300])
        assert answer.status == 200 or answer.error["message"], noise[:300]


async def test_addresses(client: Client) -> None:
    dice = random.Random(0)
    for _ in range(REQUESTS):
        query = mutated(
            dice, b"query=%7B__typename%7D&variables=%7B%22a%22%3A1%7D&operationName=&extensions=%7B%7D"
        )
        address = "".join(chr(byte) if 32 < byte < 127 else f"%{byte:02x}" for byte in query)
        answer = await client.send("GET", f"/graphql?{address}")
        assert answer.status < 500, (address, answer.body[:300])


async def test_headers(client: Client) -> None:
    dice = random.Random(0)
    good = {
        "Content-Type": b"application/json; charset=utf-8",
        "Accept": b"multipart/mixed;incrementalSpec=v0.2, text/event-stream;q=0.1, application/json;q=0.9",
        "Authorization": b"Bearer access-token-of-ada",
        "X-GraphQL-Event-Stream-Token": b"a",
        "Origin": b"https://[::1]:80",
        "Upgrade": b"websocket",
        "Sec-WebSocket-Protocol": b"graphql-transport-ws",
        "X-Forwarded-For": b"1.2.3.4, ::1",
        "traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    for number in range(REQUESTS * 2):
        name = dice.choice([*good])
        value = "".join(chr(byte) for byte in mutated(dice, good[name]) if 31 < byte < 127)
        method, path = (("POST", "/graphql"), ("GET", "/graphql"), ("PUT", "/graphql/stream"))[number % 3]
        headers = {"Content-Type": "application/json", name: value}
        answer = await client.send(method, path, data=b'{"query": "{ __typename }"}', headers=headers)
        assert answer.status < 500, (name, value, answer.body[:300])


@pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionHeader")
@pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionParam")
async def test_multipart_bodies(world: World, client: Client) -> None:
    world.user("admin", admin=True)
    dice = random.Random(0)
    # Of the picture a few bytes will do.
    good = body().replace(bytes(range(256)) * 1_999, b"")
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Authorization": f"Bearer {token_of('admin')}",
        **PREFLIGHT,
    }
    for _ in range(REQUESTS * 2):
        noise = mutated(dice, good)
        answer = await client.send("POST", data=noise, headers=headers)
        assert answer.status < 500, (noise, answer.body[:300])


async def test_messages_of_sockets(world: World, client: Client) -> None:
    dice = random.Random(0)
    good = json.dumps({"id": "1", "type": "subscribe", "payload": GOOD}).encode()
    texts = [*bodies(dice)][::3] + [mutated(dice, good) for _ in range(REQUESTS)]
    for noise in texts:
        text = noise.decode(errors="replace")
        async with client.socket() as socket:
            await socket.ws.send_str(text)
            await socket.send(type="ping")
            seen = [message["type"] async for message in messages(socket)]
            code = socket.ws.close_code
            assert code in {4400, None} or "pong" in seen, (text[:300], code, seen)


async def messages(socket: Any) -> Any:
    """What comes, until a pong or the end."""
    async for frame in socket.ws:
        message = json.loads(frame.data)
        yield message
        assert b"INTERNAL" not in frame.data.encode(), frame.data
        if message["type"] == "pong":
            return
