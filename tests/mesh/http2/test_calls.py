"""Reads on connections of our own to real servers: what they carry, and how they end."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest

from mesh import caller
from mesh.caller import Caller
from mesh.channel import MeshChannel, ahead_of_answers, connect
from mesh.errors import Code, FieldViolation, RemoteFailure
from mesh.server import MeshServer
from tests.mesh.conftest import House
from tests.mesh.echo import SERVICE, WAIT_S, Echo, EchoStub
from tests.mesh.http2.played import ECHO

HI = EchoRequest(text="hi")


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
    assert 0 < float((await direct.stub.Echo(EchoRequest(text="time"), timeout=15)).text) < 17
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
    # On a busy machine it may be over before the server has begun.
    while not echo.waiting.is_set():
        with pytest.raises(RemoteFailure) as late:
            await direct.stub.Echo(EchoRequest(text="wait:x"), timeout=1.5)
        assert (late.value.code, late.value.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    echo.waiting.clear()
    call = asyncio.ensure_future(direct.stub.Echo(EchoRequest(text="wait:x")))
    await echo.waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(WAIT_S):
        while len(echo.cancelled) < 2:
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


async def test_a_connection_that_was_begun_before_a_renewal_takes_no_calls(
    house: House, server: MeshServer
) -> None:
    made = _direct(house, server)
    context, begun = made.pool.tls, 0
    assert context is not None

    def certificates() -> ssl.SSLContext:
        nonlocal begun
        begun += 1
        if begun == 1:
            # Those of before have been read, and nothing is connected yet.
            made.pool.renew()
        return context()

    made.pool.tls = certificates
    await made.until_connected()
    assert begun == 2
    assert (await made.stub.Echo(HI)).text == "hi"
    await made.channel.close()


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
