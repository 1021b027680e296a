"""What a server may do to a connection, frame by frame."""

from __future__ import annotations

import asyncio
import random

import pytest

from mesh.http2 import frames
from mesh.http2.calls import Broken, Reset, TooLong, Unsent
from tests.mesh.echo import SERVICE, WAIT_S
from tests.mesh.http2.played import AHEAD, ENDED, OK, Played, answer, data, headers


async def test_an_answer_may_come_in_any_pieces() -> None:
    for step in (1, 2, 7, 1_000):
        played = Played()
        first, second = await played.ask(), await played.ask()
        said = frames.settings({}) + answer(3, b"second") + answer(1, b"first")
        for at in range(0, len(said), step):
            played.say(said[at : at + step])
        assert (await first).framed[5:] == b"first"
        assert (await second).framed[5:] == b"second"


async def test_padding_priority_and_continued_headers_are_read() -> None:
    played = Played()
    call = await played.ask()
    block = headers(1, {**AHEAD, "long": "x" * 500})[frames.HEAD_BYTES :]
    padded = b"\x03" + bytes(5) + block[:40] + bytes(3)
    message = b"\0" + (4).to_bytes(4, "big") + b"data"
    played.say(
        frames.frame(frames.HEADERS, frames.PADDED | frames.PRIORITY, 1, padded),
        frames.frame(frames.CONTINUATION, 0, 1, block[40:90]),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[90:]),
        frames.frame(frames.DATA, frames.PADDED, 1, b"\x02" + message + bytes(2)),
        frames.frame(0xFA, 0, 1, b"a kind that nobody knows"),
        headers(1, OK, flags=ENDED),
    )
    found = await call
    assert (found.framed, found.ahead["long"], found.behind) == (message, "x" * 500, OK)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (frames.reset(1, frames.REFUSED_STREAM), Unsent),
        (frames.reset(1, frames.CANCEL), Reset),
        (frames.frame(frames.GOAWAY, 0, 0, bytes(8)), Unsent),
        (headers(1, AHEAD) + frames.frame(frames.DATA, 0, 1, bytes(1_006)), TooLong),
    ],
)
async def test_how_a_call_can_end_without_an_answer(said: bytes, problem: type[Exception]) -> None:
    played = Played()
    call = await played.ask()
    played.say(said)
    with pytest.raises(problem):
        await call


async def test_an_answer_that_comes_too_late_is_passed_over() -> None:
    played = Played()
    late = await played.ask(timeout_s=0.0)
    with pytest.raises(TimeoutError):
        await late
    # On this stream come reports of health where they are asked for; this one would be "not serving".
    played.say(headers(1, AHEAD), data(1, b"\x08\x02"), data(1, b"answer"), headers(1, OK, flags=ENDED))
    assert not played.wire.closed
    assert played.connection.takes(0)


async def test_calls_that_a_leaving_server_has_begun_are_finished() -> None:
    played = Played()
    first, second = await played.ask(), await played.ask()
    played.say(frames.frame(frames.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)))
    assert not played.connection.takes(0)
    with pytest.raises(Unsent):
        await second
    assert not played.wire.closed
    played.say(answer(1))
    assert (await first).framed[5:] == b"answer"
    assert played.wire.closed


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frames.frame(frames.PUSH_PROMISE, 0, 1, bytes(8)),
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        # The dynamic table that we forbade.
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xbe"),
        frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""),
        frames.frame(frames.DATA, frames.PADDED, 1, b"\x09\x00"),
        frames.frame(frames.SETTINGS, 0, 0, b"12345"),
        frames.frame(frames.RST_STREAM, 0, 1, b""),
    ],
)
async def test_what_is_no_http2_ends_the_connection(said: bytes) -> None:
    played = Played()
    call = await played.ask()
    played.say(said)
    assert played.wire.closed
    played.connection.connection_lost(None)
    with pytest.raises(Broken):
        await call
    assert played.gone == 1


async def test_noise_never_raises_and_leaves_no_call_waiting() -> None:
    chance = random.Random(7)
    for _ in range(300):
        played = Played(health=chance.choice([None, SERVICE]))
        call = await played.ask()
        said = bytearray(frames.settings({4: 1}) + answer(1) + answer(3))
        for _ in range(chance.randint(1, 12)):
            said[chance.randrange(len(said))] = chance.randrange(256)
        played.say(bytes(said))
        played.connection.connection_lost(None)
        await asyncio.wait([call])
        assert call.cancelled() or call.exception() is not None or call.result()


async def test_windows_and_limits_of_the_server_are_kept() -> None:
    played = Played()
    takes = played.connection.takes
    assert takes(16_000)
    assert not takes(20_000)
    played.say(frames.settings({frames.FRAME_BYTES_MAX: 1 << 20, frames.STREAMS_MAX: 2}))
    assert takes(65_000)
    assert not takes(66_000)
    calls = [await played.ask() for _ in range(2)]
    assert not takes(0)
    played.say(answer(1), answer(3))
    await asyncio.gather(*calls)
    assert takes(65_000)
    played.say(frames.settings({frames.INITIAL_WINDOW: 100}))
    assert not takes(100)
    played.connection.pause_writing()
    assert not takes(0)
    played.connection.resume_writing()
    assert takes(50)


async def test_calls_use_up_the_window_until_the_server_gives_more() -> None:
    played = Played()
    played.connection._allowance.window = 2 * (len(b"message") + 5)
    calls = [await played.ask() for _ in range(2)]
    assert not played.connection.takes(0)
    played.say(frames.window_update(0, 100))
    assert played.connection.takes(0)
    for call in calls:
        call.cancel()


async def test_a_silent_server_is_pinged_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.http2.pulse.BEAT_S", 0.01)
    played = Played()
    async with asyncio.timeout(WAIT_S):
        while not played.wire.closed:
            await asyncio.sleep(0.005)
    assert frames.frame(frames.PING, 0, 0, bytes(8)) in played.wire.written


async def test_a_servers_ping_is_answered() -> None:
    played = Played()
    played.say(frames.frame(frames.PING, 0, 0, b"pingpong"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert frames.frame(frames.PING, frames.ACK, 0, b"pingpong") in played.wire.written
