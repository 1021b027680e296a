"""What somebody might send to a gateway to keep it from others; each with how it is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from io import BytesIO

import aiohttp
import yarl

from tests.gateway.client import Client

JSON = {"Content-Type": "application/json"}
TOO_LARGE, BAD = "OPERATION_TOO_LARGE", "BAD_REQUEST"
LOG_IN = 'logIn(challengeId: "a", address: "b", signature: "c") { accessToken }'
# As many letters as a document may have, with some room.
LETTERS = 49_000


@dataclass(frozen=True)
class Case:
    """`attack(client)` is one go; it gives the codes or outcomes that it met. `expected`: all that it may."""

    name: str
    attack: Callable[[Client], Awaitable[set[str]]]
    expected: frozenset[str]
    # Nothing but very much of it: the limits of a minute are what is against it.
    is_flood: bool = False


def _posted(document: str, variables: object = None) -> Callable[[Client], Awaitable[set[str]]]:
    async def attack(client: Client) -> set[str]:
        return {(await client.post(document, variables)).code}

    return attack


def _sent(body: bytes, headers: dict[str, str]) -> Callable[[Client], Awaitable[set[str]]]:
    async def attack(client: Client) -> set[str]:
        return {(await client.send("POST", data=BytesIO(body), headers=headers)).code}

    return attack


def _many(item: str, times: int) -> str:
    return " ".join(item.replace("#", str(number)) for number in range(times))


def _doubling(times: int) -> str:
    fragments = _many("fragment F# on Query { ...G# ...G# }", times)
    for number in range(times):
        fragments = fragments.replace(f"...G{number} ", f"...F{number + 1} ")
    return f"{{ ...F0 }} {fragments} fragment F{times} on Query {{ tip {{ hash }} }}"


def _circle(times: int) -> str:
    return "{ ...F0 } " + _many(
        "fragment F# on Query { " + _many("...F#", times).replace("#", "") + " }", times
    )


async def _socket_flood(client: Client) -> set[str]:
    async with client.socket() as socket:
        with contextlib.suppress(ConnectionError):
            for _ in range(1_000):
                await socket.send(type="ping")
        return {str(await socket.until_closed())}


async def _subscription_flood(client: Client) -> set[str]:
    async with client.socket() as socket:
        for number in range(150):
            query = "subscription { marketActivity { listing { id } } }"
            await socket.send(id=str(number), type="subscribe", payload={"query": query})
        return {await socket.code()}


async def _malformed_socket(client: Client) -> set[str]:
    async with client.socket() as socket:
        await socket.ws.send_str("[" * 200_000)
        return {str(await socket.until_closed())}


async def _empty_frames(client: Client) -> set[str]:
    """Pings, and a message in as many fragments, that all have nothing in them."""
    ping, first, fragment, last = (bytes([kind, 0x80]) + bytes(4) for kind in (0x89, 0x01, 0x00, 0x80))
    async with client.socket() as socket:
        socket.write(ping * 10_000 + first + fragment * 10_000 + last)
        return {str(await socket.until_closed())}


async def _slow_heads(client: Client) -> set[str]:
    """200 connections whose heads do not end; they stay until they are closed, or a second."""
    url = yarl.URL(client.url)
    opened = await asyncio.gather(*(asyncio.open_connection(url.host, url.port) for _ in range(200)))
    try:
        for _, writer in opened:
            writer.write(b"GET / HTTP/1.1\r\n")
        for _ in range(10):
            for _, writer in opened:
                writer.write(b"X-Slow: loris\r\n")
            await asyncio.sleep(0.1)
    finally:
        for _, writer in opened:
            writer.transport.abort()
    return {"held"}


async def _silent_readers(client: Client) -> set[str]:
    """Connections that ask for large answers and take nothing."""
    url = yarl.URL(client.url)
    body = json.dumps({"query": "{ __typename }"}).encode()
    request = (
        b"POST /graphql HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    opened = await asyncio.gather(*(asyncio.open_connection(url.host, url.port) for _ in range(50)))
    for _, writer in opened:
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a read transport
        writer.write(request * 20)
    await asyncio.sleep(0.5)
    for _, writer in opened:
        writer.transport.abort()
    return {"held"}


async def _handshakes(client: Client) -> set[str]:
    """50 WebSockets at once, that say nothing and go."""
    url = yarl.URL(client.url)
    head = (
        b"GET /graphql HTTP/1.1\r\nHost: g\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2F0cmVlbCBzYXRyZWVsIQ==\r\n"
        b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )
    opened = await asyncio.gather(*(asyncio.open_connection(url.host, url.port) for _ in range(50)))
    try:
        for _, writer in opened:
            writer.write(head)
        return {(await reader.readline()).split()[1].decode() for reader, _ in opened}
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def _nothing(_client: Client) -> set[str]:
    await asyncio.sleep(0.5)
    return {"nothing"}


async def _too_often(client: Client) -> set[str]:
    answers = await asyncio.gather(*(client.post("{ tip { hash } }") for _ in range(100)))
    return {"429" if answer.status == 429 else "200" for answer in answers}


async def _foreign_get(client: Client) -> set[str]:
    headers = {"Sec-Fetch-Site": "cross-site"}
    return {(await client.send("GET", params={"query": "{ tip { hash } }"}, headers=headers)).code}


async def _many_parts(client: Client) -> set[str]:
    form = aiohttp.FormData()
    for number in range(500):
        form.add_field(str(number), b"x" * 1_000, filename="a")
    headers = {"X-Satreel-Preflight": "1"}
    return {(await client.send("POST", data=form, headers=headers)).code}


ALIASES = json.dumps({"query": "{ " + _many("a#: __typename", 100_000) + " }"}).encode()
NULLS: list[None] = [None] * 40_000
MEMES = "memes(first: 100) { nodes { creator { "
OVERLAPPING = "fragment G# on Query { tip { hash } metrics { name } }"
IDS = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
BOMB = zlib.compress(b" " * 50_000_000)


def case(name: str, attack: Callable[[Client], Awaitable[set[str]]], *expected: str) -> Case:
    return Case(name, attack, frozenset(expected))


def flood(name: str, attack: Callable[[Client], Awaitable[set[str]]], *expected: str) -> Case:
    return Case(name, attack, frozenset(expected), is_flood=True)


CASES = (
    # To compare with.
    case("nothing at all", _nothing, "nothing"),
    case("10 MB of {", _sent(b"{" * 10_000_000, JSON), "TOO_LARGE"),
    case("a document of 200 KB of {", _posted("{" * 200_000), TOO_LARGE),
    case("100,000 aliases", _sent(ALIASES, JSON), "TOO_LARGE"),
    case("600 aliases", _posted("{ " + _many("a#: __typename", 600) + " }"), TOO_LARGE),
    case("9,000 tokens", _posted("{ " + "a " * 9_000 + "}"), BAD),
    case("900 directives", _posted("{ tip { hash " + _many("@d#", 900) + " } }"), BAD),
    case("one directive 280 times", _posted("{ tip { hash " + "@skip(if: true) " * 280 + "} }"), BAD),
    case("60 doubling fragments", _posted(_doubling(60)), TOO_LARGE),
    case("30 fragments in circles, each in all", _posted(_circle(30)), BAD),
    case("900 levels", _posted("{ a " * 900 + "}" * 900), BAD),
    case("450 equal fields", _posted("{ " + "tip { hash } " * 450 + "}"), BAD),
    case("120 fragments that overlap",
         _posted("{ " + _many("...G#", 120) + " } " + _many(OVERLAPPING, 120)), BAD),
    case("lists within lists", _posted("{ " + MEMES * 3 + "id" + " } } }" * 3 + " }"), TOO_LARGE),
    case("1,900 misspelt fields", _posted("{ " + _many("metric#", 1_900) + " }"), BAD),
    case("names of 1,200 letters", _posted("{ " + _many("a" * 1_200 + "#", 40) + " }"), BAD),
    case("a name of 49,000 letters", _posted("{ " + "a" * LETTERS + " }"), BAD),
    case("a number of 49,000 digits", _posted("{ memes(first: " + "9" * LETTERS + ") { nodes { id } } }"),
         BAD),
    case("a comment of 200 KB", _posted("{ tip { hash } } #" + "x" * 200_000), TOO_LARGE),
    case("introspection 60 times over",
         _posted("{ " + _many("a#: __schema { types { fields { type { ofType { name } } } } }", 60) + " }"),
         TOO_LARGE),
    case("40,000 nulls in a variable", _posted(IDS, {"ids": NULLS}), TOO_LARGE),
    case("lists 900 deep in a variable", _posted(IDS, {"ids": json.loads("[" * 900 + "]" * 900)}), BAD),
    case("JSON 100,000 deep", _sent(b"[" * 100_000, JSON), BAD),
    case("a compressed bomb", _sent(BOMB, {**JSON, "Content-Encoding": "deflate"}), "UNSUPPORTED_MEDIA_TYPE"),
    case("500 files of a stranger", _many_parts, "USER_TOKEN_MISSING"),
    case("60 log-ins in one operation", _posted("mutation { " + _many(f"a#: {LOG_IN}", 61) + " }"),
         "RATE_LIMITED"),
    case("a foreign page's GET", _foreign_get, "PREFLIGHT_REQUIRED"),
    case("1,000 messages at once", _socket_flood, "1008"),
    case("200 KB of [ on a socket", _malformed_socket, "4400"),
    case("20,000 empty frames on a socket", _empty_frames, "4400"),
    case("150 subscriptions on a socket", _subscription_flood, "TOO_MANY_SUBSCRIPTIONS", "RATE_LIMITED"),
    case("200 heads that do not end", _slow_heads, "held"),
    flood("50 clients that take no answer", _silent_readers, "held"),
    flood("50 WebSockets at once", _handshakes, "101", "429"),
    flood("more requests than a minute has", _too_often, "200", "429"),
)  # fmt: skip
