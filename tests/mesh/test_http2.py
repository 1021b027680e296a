"""Reads on connections of our own: what they carry, how they end, and what a server may do to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import hpack
import pytest
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest, EchoResponse

from mesh import caller, contracts
from mesh.caller import Caller
from mesh.channel import MeshChannel, ahead_of_answers, connect
from mesh.errors import Code, FieldViolation, RemoteFailure
from mesh.http2 import frames
from mesh.http2.calls import Answer, Broken, Reset, TooLong, Unsent
from mesh.http2.connection import Connection
from mesh.http2.pool import Pool
from mesh.http2.unary import NOT_MADE, unary
from mesh.server import MeshServer
from tests.mesh.conftest import House
from tests.mesh.echo import SERVICE, WAIT_S, Echo, EchoStub

HI = EchoRequest(text="hi")
ECHO = contracts.method(f"/{SERVICE}/Echo")


class Direct:
    """A stub whose channel can make calls on connections of ours only: gRPC's core would fail them."""

    def __init__(self, channel: MeshChannel) -> None:
        self.pool = channel._pool
        self.channel = channel
        self.stub = EchoStub(channel)

    async def until_connected(self, count: int = 1) -> None:
        """As many connections take calls."""
        async with asyncio.timeout(WAIT_S):
            while sum(self._takes()) < count:
                self.pool.pick(0)
                await asyncio.sleep(0.005)

    async def until_none(self) -> None:
        """No connection takes calls any more."""
        async with asyncio.timeout(WAIT_S):
            while any(self._takes()):
                await asyncio.sleep(0.005)

    def _takes(self) -> list[bool]:
        return [place.connection is not None and place.connection.takes(0) for place in self.pool._places]


class _NoCore:
    """In place of gRPC's core."""

    def callable(self, *_: Any, **__: Any) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise AssertionError("a call by gRPC's core")

        return fail

    async def close(self, grace: float | None = None) -> None:
        """Nothing to do."""


@pytest.fixture
async def direct(house: House, server: MeshServer) -> AsyncIterator[Direct]:
    made = _direct(house, server)
    await made.until_connected()
    yield made
    await made.channel.close()


def _direct(house: House, *servers: MeshServer, core: bool = False) -> Direct:
    addresses = ",".join(f"localhost:{server.port}" for server in servers)
    channel = connect(me="friend", peer="echo", addresses=addresses, tls_dir=house.tls_dir, service=SERVICE)
    if not core:
        channel._core = _NoCore()  # type: ignore[assignment] # nothing else of it is used
    return Direct(channel)


async def test_a_call_carries_user_deadline_and_what_is_said_ahead(house: House, direct: Direct) -> None:
    with caller.acting_as(Caller("gateway"), house.token("u1", "admin")):
        answer = await direct.stub.Echo(EchoRequest(text="who"))
    assert answer.text == str(Caller("friend", "u1", frozenset({"admin"}), "s1"))
    # Less than the contract gives.
    assert 0 < float((await direct.stub.Echo(EchoRequest(text="time"), timeout=19.9)).text) < 19.9
    with ahead_of_answers() as said:
        await direct.stub.Echo(HI)
    assert said["content-type"] == "application/grpc"
    assert not any(name.startswith(":") for name in said)


async def test_failures_arrive_whole(direct: Direct) -> None:
    with pytest.raises(RemoteFailure) as told:
        await direct.stub.Echo(EchoRequest(text="sugar"))
    failure = told.value
    assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "OUT_OF_SUGAR")
    assert (failure.domain, failure.metadata) == ("satreel_testing.mesh", {"spoons": "2"})
    assert (failure.message, failure.method) == ("There is no sugar left.", ECHO.path)
    with pytest.raises(RemoteFailure) as refused:
        await direct.stub.Echo(EchoRequest(names=["ok", "longer"]))
    assert refused.value.violations[1] == FieldViolation("names[1]", "must be at most 3 characters")


async def test_large_answers_come_whole_and_too_large_ones_not(direct: Direct) -> None:
    assert len((await direct.stub.Echo(EchoRequest(text="large:10000000"))).text) == 10_000_000
    direct.pool._places[0].connection._framed_max = 1_000_000  # type: ignore[union-attr] # it is connected
    with pytest.raises(RemoteFailure, match="RESOURCE_EXHAUSTED"):
        await direct.stub.Echo(EchoRequest(text="large:1000001"))
    assert (await direct.stub.Echo(HI)).text == "hi"


async def test_many_calls_at_once_get_their_own_answers(direct: Direct) -> None:
    texts = [f"text {number}" * random.randint(1, 20) for number in range(300)]
    answers = await asyncio.gather(*(direct.stub.Echo(EchoRequest(text=text)) for text in texts))
    assert [answer.text for answer in answers] == texts


async def test_a_deadline_and_a_cancellation_reach_the_server(direct: Direct, echo: Echo) -> None:
    with pytest.raises(RemoteFailure) as late:
        await direct.stub.Echo(EchoRequest(text="wait:x"), timeout=1.5)
    assert (late.value.code, late.value.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert echo.waiting.is_set()
    echo.waiting.clear()
    call = asyncio.ensure_future(direct.stub.Echo(EchoRequest(text="wait:x")))
    await echo.waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(WAIT_S):
        while echo.cancelled != ["echo", "echo"]:
            await asyncio.sleep(0.01)
    assert (await direct.stub.Echo(HI)).text == "hi"


async def test_calls_are_spread_and_follow_who_serves(house: House) -> None:
    first, second = await house.start(Echo(name="1")), await house.start(Echo(name="2"))
    both = _direct(house, first, second)
    await both.until_connected(2)
    asked = [await both.stub.Echo(EchoRequest(text="name")) for _ in range(4)]
    assert sorted(answer.text for answer in asked) == ["1", "1", "2", "2"]
    await first.health.set(SERVICE, False)
    async with asyncio.timeout(WAIT_S):
        while sum(both._takes()) > 1:
            await asyncio.sleep(0.005)
    assert {(await both.stub.Echo(EchoRequest(text="name"))).text for _ in range(4)} == {"2"}
    await both.channel.close()


async def test_a_name_is_asked_for_its_addresses_again_and_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await house.start(Echo(name="1"))
    slow = Echo(name="2")
    await house.start(slow, listen=f"127.0.0.2:{first.port}")
    hosts = ["127.0.0.2"]

    async def found(name: str, port: str, **_: Any) -> list[Any]:
        assert name == "echo.test"
        return [(None, None, 0, "", (host, int(port))) for host in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    monkeypatch.setattr("mesh.http2.pool.RESOLVED_S", 0.01)
    named = _direct(house, first)
    named.pool.addresses = f"echo.test:{first.port}"
    await named.until_connected()
    call = asyncio.ensure_future(named.stub.Echo(EchoRequest(text="wait:done"), timeout=WAIT_S))
    await slow.waiting.wait()
    hosts[:] = ["127.0.0.1"]
    async with asyncio.timeout(WAIT_S):
        while [place.host for place in named.pool._places] != hosts or not any(named._takes()):
            named.pool.pick(0)
            await asyncio.sleep(0.005)
    assert (await named.stub.Echo(EchoRequest(text="name"))).text == "1"
    # What runs at an address that is gone is finished there.
    slow.release.set()
    assert (await call).text == "done"
    await named.channel.close()


async def test_a_drain_ends_no_call(house: House, echo: Echo, server: MeshServer, direct: Direct) -> None:
    call = asyncio.ensure_future(direct.stub.Echo(EchoRequest(text="wait:done"), timeout=WAIT_S))
    await echo.waiting.wait()
    stopping = asyncio.ensure_future(server.stop())
    await direct.until_none()
    echo.release.set()
    assert (await call).text == "done"
    await stopping


async def test_what_changes_something_goes_by_grpcs_core(direct: Direct) -> None:
    assert (await direct.stub.Echo(HI)).text == "hi"
    with pytest.raises(AssertionError, match="core"):
        await direct.stub.Command(HI)


async def test_a_read_of_a_dead_server_is_repeated_elsewhere(house: House) -> None:
    dying, living = Echo(name="dying"), Echo(name="living")
    first, second = await house.start(dying), await house.start(living, serving=False)
    both = _direct(house, first, second, core=True)
    await both.until_connected()
    read = asyncio.ensure_future(both.stub.Echo(EchoRequest(text="wait:x"), timeout=WAIT_S))
    await dying.waiting.wait()
    living.release.set()
    for place in both.pool._places:
        if place.connection is not None:
            place.connection.close()
    await second.health.set(SERVICE, True)
    await first.health.set(SERVICE, False)
    assert (await read).text == "x"
    assert living.seen["Echo"] == 1
    await both.channel.close()


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


class Played:
    """A connection whose other end is the test."""

    def __init__(self, *, health: str | None = None) -> None:
        self.gone = 0
        self.wire = Wire()
        self.connection = Connection(
            "echo:1", secure=False, health=health, message_bytes_max=1_000, on_gone=self._gone
        )
        self.connection.connection_made(self.wire)

    def _gone(self) -> None:
        self.gone += 1

    async def ask(self, timeout_s: float = 5.0) -> asyncio.Task[Answer]:
        """A call that is under way."""
        call = asyncio.ensure_future(self.connection.ask(ECHO.path, b"", b"message", timeout_s))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return call

    def say(self, *said: bytes) -> None:
        self.connection.data_received(b"".join(said))


def headers(stream: int, fields: dict[str, str], *, flags: int = frames.END_HEADERS) -> bytes:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return frames.frame(frames.HEADERS, flags, stream, encoder.encode(list(fields.items()), huffman=True))


def data(stream: int, message: bytes, *, flags: int = 0) -> bytes:
    return frames.frame(frames.DATA, flags, stream, b"\0" + len(message).to_bytes(4, "big") + message)


AHEAD = {":status": "200", "content-type": "application/grpc"}
ENDED = frames.END_HEADERS | frames.END_STREAM
OK = {"grpc-status": "0"}


def answer(stream: int, message: bytes = b"answer") -> bytes:
    return headers(stream, AHEAD) + data(stream, message) + headers(stream, OK, flags=ENDED)


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


@pytest.mark.parametrize(
    ("ahead", "behind", "code"),
    [
        ({":status": "404"}, None, Code.UNIMPLEMENTED),
        ({":status": "418"}, None, Code.UNKNOWN),
        (AHEAD, {"no": "status"}, Code.INTERNAL),
        (AHEAD, {"grpc-status": "99"}, Code.UNKNOWN),
        (AHEAD, {"grpc-status": "8", "grpc-message": "f%C3%BCll"}, Code.RESOURCE_EXHAUSTED),
        (AHEAD, {"grpc-status": "9", "grpc-status-details-bin": "!!"}, Code.INTERNAL),
        (AHEAD, OK, Code.INTERNAL),
    ],
)
async def test_answers_without_a_message_become_failures(
    ahead: dict[str, str], behind: dict[str, str] | None, code: Code
) -> None:
    pool = Pool("127.0.0.1:1", 1_000, None)
    played = Played()
    pool.pick = lambda _: played.connection  # type: ignore[method-assign, assignment]
    call = asyncio.ensure_future(
        unary(pool, ECHO, b"", b"", timeout_s=5, parse=EchoResponse.FromString, said=None)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    played.say(headers(1, ahead, flags=frames.END_HEADERS | (frames.END_STREAM if behind is None else 0)))
    if behind is not None:
        played.say(headers(1, behind, flags=ENDED))
    with pytest.raises(RemoteFailure) as told:
        await call
    assert told.value.code == code
    assert told.value.method == ECHO.path
    if "grpc-message" in (behind or {}):
        assert told.value.message == "füll"


async def test_a_read_that_nobody_could_answer_is_left_to_grpc() -> None:
    pool = Pool("127.0.0.1:1", 1_000, None)
    played = Played()
    pool.pick = lambda _: played.connection  # type: ignore[method-assign, assignment]
    call = asyncio.ensure_future(
        unary(pool, ECHO, b"", b"", timeout_s=5, parse=EchoResponse.FromString, said=None)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    played.say(headers(1, {":status": "503"}, flags=ENDED))
    assert await call is NOT_MADE


async def test_where_nobody_listens_calls_are_left_to_grpc() -> None:
    pool = Pool("127.0.0.1:1", 1_000, None)
    for _ in range(3):
        made = await unary(pool, ECHO, b"", b"", timeout_s=5, parse=EchoResponse.FromString, said=None)
        assert made is NOT_MADE
        await asyncio.sleep(0.01)
    await pool.close()


async def test_a_server_without_our_certificate_is_not_spoken_to(house: House, echo: Echo) -> None:
    plain = grpc.aio.server()
    port = plain.add_insecure_port("127.0.0.1:0")
    await plain.start()
    channel = connect(
        me="friend", peer="echo", addresses=f"127.0.0.1:{port}", tls_dir=house.tls_dir, service=SERVICE
    )
    made = Direct(channel)
    for _ in range(20):
        assert made.pool.pick(0) is None
        await asyncio.sleep(0.01)
    await channel.close()
    await plain.stop(None)
