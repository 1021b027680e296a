"""WebSockets as bytes: what the protocol allows and forbids, and how they close."""

from __future__ import annotations

import asyncio
import struct

import pytest

from graphql_gateway.edge import transport
from graphql_gateway.edge.sockets import Socket
from tests.gateway.both_loops.peers import (
    BINARY,
    CLOSE,
    CONT,
    FINAL,
    INIT,
    MASKED,
    PING,
    PONG,
    ROUND,
    TEXT,
    closing,
    frame,
    held,
    peer,
    subscribe,
)
from tests.gateway.client import Client
from tests.gateway.world import World, until


async def test_bad_handshakes_are_refused(client: Client) -> None:
    good = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for status, method, change in (
        (405, "POST", {}),
        (400, "GET", {"Sec-WebSocket-Key": "short"}),
        (400, "GET", {"Sec-WebSocket-Key": "not base64 at all!"}),
        (400, "GET", {"Sec-WebSocket-Version": "8"}),
        (400, "GET", {"Connection": "close"}),
    ):
        answer = await client.send(method, headers=good | change)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
        assert answer.error["message"]


async def test_what_comes_with_the_handshake_is_heard(world: World) -> None:
    async with peer(world.url, behind=frame(TEXT, INIT) + frame(PING, b"early")[:3], ack=False) as early:
        assert await early.message() == {"type": "connection_ack"}


async def test_a_frame_in_single_bytes(world: World) -> None:
    number = world.round().number
    async with peer(world.url) as slow:
        for byte in frame(TEXT, subscribe(ROUND)):
            await slow.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await slow.message())["payload"] == {"data": {"roundUpdated": {"number": number}}}


async def test_a_message_in_ten_thousand_fragments(world: World) -> None:
    message = subscribe("{ metrics { name } }" + " " * 10_000)
    fragments = [frame(CONT, message[at : at + 1], final=False) for at in range(1, len(message))]
    fragments[100:100] = [frame(CONT, final=False)] * 500
    async with peer(world.url) as chopped:
        await chopped.send(frame(TEXT, message[:1], final=False), *fragments, frame(PING, b"between"))
        # What controls the connection comes between fragments.
        assert await chopped.frame() == (PONG, b"between")
        await chopped.send(frame(CONT))
        assert "metrics" in (await chopped.message())["payload"]["data"]


FORBIDDEN = {
    "not masked": (frame(TEXT, INIT, mask=False), 1002),
    "reserved bits": (frame(TEXT, INIT, reserved=4), 1002),
    "no such kind": (frame(3, INIT), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a ping in fragments": (frame(PING, final=False), 1002),
    "a fragment of nothing": (frame(CONT, b"x"), 1002),
    "a message within another": (frame(TEXT, b"{", final=False) + frame(TEXT, b"}"), 1002),
    "a close code that is never sent": (closing(1005), 1002),
    "half a close code": (frame(CLOSE, b"\x03"), 1002),
    "bad UTF-8": (frame(TEXT, b'{"type": "\xff"}'), 1007),
    "bad UTF-8 across fragments": (frame(TEXT, b"\xe2\x82", final=False) + frame(CONT, b"\x28"), 1007),
    "bad UTF-8 in a reason": (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
    "a message too large": (frame(TEXT, b" " * 262_145), 1009),
    "a size beyond sense": (bytes([FINAL | TEXT, MASKED | 127]) + b"\x7f" + b"\xff" * 7, 1009),
    "fragments too large": (
        frame(TEXT, b" " * 200_000, final=False) + frame(CONT, b" " * 62_145, final=False),
        1009,
    ),
    "binary": (frame(BINARY, INIT), 4400),
}


async def test_what_is_forbidden_closes_and_the_client_is_told(world: World) -> None:
    for name, (sent, code) in FORBIDDEN.items():
        async with peer(world.url) as wrong:
            # More behind it neither helps nor hides the reason.
            await wrong.send(sent, frame(TEXT, subscribe("{ metrics { name } }")))
            assert (await wrong.closed())[0] == code, name


async def test_the_client_closes(world: World) -> None:
    world.round()
    for told, answered in ((closing(1000, "bye"), closing(1000, "bye")), (frame(CLOSE), frame(CLOSE))):
        async with peer(world.url) as leaving:
            await leaving.send(frame(TEXT, subscribe(ROUND)))
            await leaving.message()
            await leaving.send(told)
            kind, payload = await leaving.frame()
            assert (kind, len(payload)) == (CLOSE, len(answered) - 6)
            await leaving.ended()
        await until(lambda: not world.live.rounds.subscribers)


async def test_who_does_not_answer_a_close_is_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CLOSE_S", 0.2)
    async with peer(world.url) as silent:
        await silent.send(frame(TEXT, b"nonsense"))
        assert await silent.frame() == (CLOSE, b"\x11\x30A message must be JSON")
        # Neither messages nor pings count for an answer.
        await silent.send(frame(TEXT, subscribe(ROUND)), frame(PING))
        with pytest.raises((ConnectionError, AssertionError)):
            await silent.frame()
            await silent.ended()
            raise ConnectionError
    await until(lambda: not held(Socket))


async def test_who_hangs_up_halfway_is_gone(world: World) -> None:
    """It wrote its last, and would read on: without a close frame that is no WebSocket any more."""
    world.round()
    async with peer(world.url) as half:
        await half.send(frame(TEXT, subscribe(ROUND)))
        await half.message()
        half.writer.write_eof()
        await half.ended()
        await until(lambda: not world.live.rounds.subscribers)
