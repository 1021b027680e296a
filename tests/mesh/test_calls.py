"""What a call carries over hops, how it fails, and how long it may take."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest

from mesh import caller, deadlines, tls
from mesh.caller import Caller
from mesh.config import MESSAGE_BYTES_MAX
from mesh.errors import Code, DeadlineExceeded, FieldViolation, RemoteFailure
from mesh.server import MeshServer
from mesh.status import from_rpc_error
from tests.mesh.conftest import House
from tests.mesh.echo import SERVICE, WAIT_S, Echo, EchoStub

HI = EchoRequest(text="hi")


@pytest.fixture
async def behind() -> Echo:
    return Echo(name="behind")


@pytest.fixture
async def front(house: House, behind: Echo) -> EchoStub:
    """A stub of a server whose servicer calls another server."""
    back = await house.start(behind)
    front = await house.start(Echo(behind=house.stub(back, me="echo")))
    return house.stub(front)


# gRPC rounds what is left up, by its own word of the time, which on a busy machine is not the newest.
ROUNDED_S = 2.0


async def test_the_deadline_shrinks_over_two_hops(front: EchoStub) -> None:
    # Less than the contract gives.
    began_s = time.monotonic()
    left_s = float((await front.Echo(EchoRequest(text="forward:time"), timeout=15)).text)
    assert 14.95 - (time.monotonic() - began_s) < left_s < 15 + ROUNDED_S


async def test_a_call_without_deadline_gets_the_contracts(house: House, server: MeshServer) -> None:
    began_s = time.monotonic()
    left_s = float((await house.stub(server).Echo(EchoRequest(text="time"))).text)
    assert 19.95 - (time.monotonic() - began_s) < left_s < 20 + ROUNDED_S


async def test_within_bounds_every_call_in_the_block(house: House, server: MeshServer) -> None:
    stub = house.stub(server)
    with deadlines.within(15):
        assert float((await stub.Echo(EchoRequest(text="time"))).text) < 15 + ROUNDED_S
        with deadlines.within(60):
            assert float((await stub.Echo(EchoRequest(text="time"))).text) < 15 + ROUNDED_S
    with deadlines.within(0), pytest.raises(DeadlineExceeded):
        await stub.Echo(HI)


async def test_a_deadline_ends_the_work_on_all_hops(front: EchoStub, behind: Echo) -> None:
    # On a busy machine it may be over before the last hop has begun.
    while not behind.waiting.is_set():
        with pytest.raises(RemoteFailure) as late:
            await front.Echo(EchoRequest(text="forward:wait:x"), timeout=1.5)
        assert (late.value.code, late.value.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert late.value.outcome_unknown
    async with asyncio.timeout(WAIT_S):
        while not behind.cancelled:
            await asyncio.sleep(0.01)


async def test_cancellation_reaches_the_last_hop(front: EchoStub, behind: Echo) -> None:
    call = asyncio.ensure_future(front.Echo(EchoRequest(text="forward:wait:x")))
    await behind.waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(WAIT_S):
        while behind.cancelled != ["behind"]:
            await asyncio.sleep(0.01)


async def test_leaving_a_stream_early_cancels_it(house: House, server: MeshServer, echo: Echo) -> None:
    async for answer in house.stub(server).Watch(EchoRequest(text="wait:x")):
        if answer.text == "x":
            break
    async with asyncio.timeout(WAIT_S):
        while echo.cancelled != ["echo"]:
            await asyncio.sleep(0.01)


async def test_streams_have_no_deadline_of_their_own(house: House, server: MeshServer) -> None:
    texts = [answer.text async for answer in house.stub(server).Watch(EchoRequest(text="time"))]
    assert texts == ["t", "i", "m", "e", "None"]


async def test_the_user_passes_over_hops_the_service_is_the_last_one(house: House, front: EchoStub) -> None:
    with caller.acting_as(Caller("gateway"), house.token("u1", "admin")):
        answer = await front.Echo(EchoRequest(text="forward:who"))
    assert answer.text == str(Caller("echo", "u1", frozenset({"admin"}), "s1"))


async def test_without_user_leaves_the_token_behind(house: House, server: MeshServer) -> None:
    with caller.acting_as(Caller("gateway"), house.token("u1")), caller.without_user():
        answer = await house.stub(server).Echo(EchoRequest(text="who"))
    assert answer.text == str(Caller("friend"))


async def test_broken_rules_are_told_field_by_field(house: House, server: MeshServer, echo: Echo) -> None:
    with pytest.raises(RemoteFailure) as refused:
        await house.stub(server).Echo(EchoRequest(names=["ok", "longer"]))
    assert (refused.value.code, refused.value.reason) == (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert refused.value.violations == (
        FieldViolation("text", "must be at least 1 characters"),
        FieldViolation("names[1]", "must be at most 3 characters"),
    )
    assert not echo.seen


async def test_each_message_of_a_stream_is_checked(house: House, server: MeshServer) -> None:
    stub = house.stub(server)
    requests = [HI, EchoRequest(text="")]
    with pytest.raises(RemoteFailure, match="INVALID_ARGUMENT"):
        await stub.Collect(iter(requests))
    heard: list[str] = []
    with pytest.raises(RemoteFailure, match="INVALID_ARGUMENT"):
        heard.extend([answer.text async for answer in stub.Talk(iter(requests))])
    with pytest.raises(RemoteFailure, match="INVALID_ARGUMENT"):
        heard.extend([answer.text async for answer in stub.Watch(EchoRequest(text=""))])


async def test_bidirectional_streams_talk(house: House, server: MeshServer) -> None:
    talk = house.stub(server).Talk()
    for text in ("one", "two"):
        await talk.write(EchoRequest(text=text))
        answer = await talk.read()
        assert getattr(answer, "text", None) == text
    await talk.done_writing()
    assert await talk.read() is grpc.aio.EOF


@pytest.mark.parametrize("order", ["sugar", "grouped"])
async def test_a_failure_arrives_with_code_reason_and_metadata(
    house: House, server: MeshServer, order: str
) -> None:
    with pytest.raises(RemoteFailure) as told:
        await house.stub(server).Command(EchoRequest(text=order))
    failure = told.value
    assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "OUT_OF_SUGAR")
    assert failure.domain == "satreel_testing.mesh"
    assert failure.message == "There is no sugar left."
    assert failure.metadata == {"spoons": "3" if order == "grouped" else "2"}
    assert not failure.outcome_unknown


async def test_a_failure_in_a_stream_arrives_after_what_was_sent(house: House, server: MeshServer) -> None:
    heard: list[str] = []
    with pytest.raises(RemoteFailure, match="NOT_FOUND"):
        async for answer in house.stub(server).Watch(EchoRequest(text="missing")):
            heard.append(answer.text)
    assert "".join(heard) == "missing"


async def test_a_failure_of_another_service_is_passed_on(front: EchoStub) -> None:
    with pytest.raises(RemoteFailure) as told:
        await front.Echo(EchoRequest(text="forward:sugar"))
    assert told.value.reason == "OUT_OF_SUGAR"
    assert told.value.metadata == {"spoons": "2"}


async def test_an_unknown_exception_is_masked_and_logged(
    front: EchoStub, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("broken", "forward:broken"):
        with pytest.raises(RemoteFailure) as told:
            await front.Echo(EchoRequest(text=text))
        assert told.value.code == Code.INTERNAL
        assert "secret" not in str(told.value)
        assert told.value.metadata["error_id"] in caplog.text + capsys.readouterr().out


async def test_too_large_messages_are_refused(house: House, server: MeshServer, echo: Echo) -> None:
    stub = house.stub(server)
    with pytest.raises(RemoteFailure) as refused:
        await stub.Command(EchoRequest(text="x" * (MESSAGE_BYTES_MAX + 1)))
    assert refused.value.code == Code.RESOURCE_EXHAUSTED
    assert not echo.seen
    with pytest.raises(RemoteFailure, match="RESOURCE_EXHAUSTED"):
        await stub.Command(EchoRequest(text=f"large:{MESSAGE_BYTES_MAX + 1}"))
    assert len((await stub.Command(EchoRequest(text="large:10000000"))).text) == 10_000_000


async def test_calls_beyond_the_bound_are_refused(house: House, echo: Echo) -> None:
    server = await house.start(echo, calls_max=2, streams_max=1)
    stub = house.stub(server)
    held = [asyncio.ensure_future(stub.Echo(EchoRequest(text="wait:x"), timeout=WAIT_S)) for _ in range(2)]
    while echo.seen["Echo"] < 2:
        await asyncio.sleep(0.01)
    with pytest.raises(RemoteFailure) as refused:
        await stub.Echo(HI)
    assert (refused.value.code, refused.value.reason) == (Code.RESOURCE_EXHAUSTED, "OVERLOADED")
    watch = stub.Watch(EchoRequest(text="wait:x"))
    await watch.read()
    with pytest.raises(RemoteFailure, match="OVERLOADED"):
        await stub.Watch(HI).read()
    echo.release.set()
    assert [answer.text for answer in await asyncio.gather(*held)] == ["x", "x"]
    assert (await stub.Echo(HI)).text == "hi"
    watch.cancel()


async def test_only_repeatable_methods_are_retried(house: House, echo: Echo, server: MeshServer) -> None:
    stub = house.stub(server)
    assert (await stub.Echo(EchoRequest(text="unavailable:3"))).text == "unavailable:3"
    assert echo.seen["Echo"] == 3
    echo.seen.clear()
    with pytest.raises(RemoteFailure) as once:
        await stub.Command(EchoRequest(text="unavailable:3"))
    assert once.value.code == Code.UNAVAILABLE
    assert echo.seen["Command"] == 1


@pytest.mark.parametrize("bytes_", [b"\xff\xff", b"\x0a\x02\xff\xfe"], ids=["no message", "not UTF-8"])
async def test_what_is_no_message_is_refused_as_bad_input(
    house: House, server: MeshServer, bytes_: bytes
) -> None:
    known = tls.channel_credentials(house.tls_dir, "friend")
    name = [("grpc.ssl_target_name_override", "echo.satreel")]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", known, name) as channel:
        unary: Any = channel.unary_unary(f"/{SERVICE}/Echo")
        stream: Any = channel.unary_stream(f"/{SERVICE}/Watch")
        talk: Any = channel.stream_stream(f"/{SERVICE}/Talk")
        for call in (
            unary(bytes_),
            stream(bytes_).read(),
            talk(iter([bytes_])).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            failure = from_rpc_error(refused.value, method="Echo")
            assert (failure.code, failure.reason) == (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT")
            assert "Error" not in failure.message
