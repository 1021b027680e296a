"""Who answers: leaders by health, drains, servers that come late."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest, EchoResponse

from mesh import tls
from mesh.channel import ahead_of_answers, connect
from mesh.errors import Code, RemoteFailure
from mesh.interceptors.leading import HEALTH_KEY
from mesh.server import MeshServer
from mesh.service_config import service_config, target_of
from tests.mesh.conftest import House
from tests.mesh.echo import SERVICE, WAIT_S, Echo

HI = EchoRequest(text="hi")
NAME = EchoRequest(text="name")


class Told(Echo):
    """Says ahead of its answers by which health name it was found."""

    async def Echo(self, request: EchoRequest, context: Any) -> EchoResponse:
        found_by = dict(context.invocation_metadata()).get(HEALTH_KEY, "")
        await context.send_initial_metadata([("found-by", found_by)])
        return await super().Echo(request, context)


async def test_calls_go_to_the_leader_and_follow_it(house: House) -> None:
    servers = [await house.start(Echo(name=name), serving=False) for name in ("a", "b")]
    stub = house.stub(*servers)
    with pytest.raises(RemoteFailure) as nobody:
        await stub.Command(NAME, timeout=0.3)
    assert nobody.value.code == Code.DEADLINE_EXCEEDED

    for leader, other, name in ((0, 1, "a"), (1, 0, "b")):
        await servers[other].health.set(SERVICE, False)
        await servers[leader].health.set(SERVICE, True)
        # A call sent before the news arrives may reach the one before; its fencing token stops it there.
        async with asyncio.timeout(WAIT_S):
            while {(await stub.Command(NAME)).text for _ in range(20)} != {name}:
                pass


async def test_another_health_name_finds_others_and_is_told_to_them(house: House) -> None:
    name = f"{SERVICE}/reads"
    servers = [await house.start(Told(name=name), serving=name == "a") for name in ("a", "b")]
    await servers[1].health.set(name, True)
    stub = house.stub(*servers, health=name)
    with ahead_of_answers() as said:
        assert {(await stub.Echo(NAME)).text for _ in range(10)} == {"b"}
    assert said["found-by"] == name
    with ahead_of_answers() as said:
        assert (await house.stub(*servers).Echo(NAME)).text == "a"
    assert said["found-by"] == ""


async def test_what_is_said_ahead_of_a_failure_is_heard_too(house: House) -> None:
    stub = house.stub(await house.start(Told()))
    with ahead_of_answers() as said, pytest.raises(RemoteFailure):
        await stub.Echo(EchoRequest(text="missing"))
    assert said["found-by"] == ""


async def test_a_waiting_call_is_answered_once_somebody_leads(house: House) -> None:
    server = await house.start(Echo(), serving=False)
    call = asyncio.ensure_future(house.stub(server).Command(HI))
    await asyncio.sleep(0.2)
    assert not call.done()
    await server.health.set(SERVICE, True)
    assert (await call).text == "hi"


async def test_load_is_spread_over_all_that_serve(house: House) -> None:
    servers = [await house.start(Echo(name=name)) for name in ("a", "b")]
    stub = house.stub(*servers)
    answers: list[str] = []
    # As soon as it is connected with both.
    async with asyncio.timeout(WAIT_S):
        while not 8 <= answers.count("a") <= 12:
            answers = [(await stub.Echo(NAME)).text for _ in range(20)]


async def test_a_drain_loses_no_call(house: House) -> None:
    servers = [await house.start(Echo(name=name), drain_s=1.5) for name in ("a", "b")]
    stub = house.stub(*servers)
    failed: list[RemoteFailure] = []
    answered: list[str] = []
    done = asyncio.Event()

    async def call_on() -> None:
        while not done.is_set():
            try:
                answered.append((await stub.Command(NAME)).text)
            except RemoteFailure as failure:
                failed.append(failure)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(call_on())
        async with asyncio.timeout(WAIT_S):
            while set(answered) != {"a", "b"}:
                await asyncio.sleep(0.01)
            await servers[0].stop()
            answered.clear()
            while len(answered) < 20:
                await asyncio.sleep(0.01)
        done.set()
    assert not failed
    assert set(answered) == {"b"}


async def test_a_running_call_ends_in_peace_and_streams_are_told(house: House, echo: Echo) -> None:
    server = await house.start(echo)
    stub = house.stub(server)
    call = asyncio.ensure_future(stub.Command(EchoRequest(text="wait:done")))
    await echo.waiting.wait()
    watch = stub.Watch(EchoRequest(text="wait:never"))
    for _ in "wait:never":
        await watch.read()
    stopping = asyncio.ensure_future(server.stop())
    with pytest.raises(RemoteFailure) as told:
        await watch.read()
    assert (told.value.code, told.value.reason) == (Code.UNAVAILABLE, "STOPPING")
    assert not stopping.done()
    echo.release.set()
    assert (await call).text == "done"
    async with asyncio.timeout(WAIT_S):
        await stopping


async def test_health_and_reflection_need_no_permission(house: House, server: MeshServer) -> None:
    credentials = tls.channel_credentials(house.tls_dir, "stranger")
    options = [("grpc.ssl_target_name_override", "echo.satreel")]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        reply = await check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        reflect = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        names = [
            service.name
            async for response in reflect(iter([ask]))
            for service in response.list_services_response.service
        ]
    assert SERVICE in names


async def test_a_taken_address_is_told(house: House, server: MeshServer) -> None:
    with pytest.raises(RuntimeError, match=f"127.0.0.1:{server.port}.*SATREEL_ECHO_LISTEN"):
        await house.start(Echo(), listen=f"127.0.0.1:{server.port}")


def test_only_what_the_contract_allows_is_retried() -> None:
    policy = service_config(SERVICE)["methodConfig"][0]
    assert {name["method"] for name in policy["name"]} == {"Echo", "Watch"}
    assert "healthCheckConfig" not in service_config(SERVICE, health_checked=False)


def test_addresses_become_targets() -> None:
    assert target_of("127.0.0.1:1, localhost:2") == "ipv4:127.0.0.1:1,127.0.0.1:2"
    assert target_of("ledger.satreel.svc:7104") == "dns:///ledger.satreel.svc:7104"
    with pytest.raises(ValueError, match="IPv4"):
        target_of("a:1,b:2")


async def test_a_channel_needs_its_contract() -> None:
    with pytest.raises(KeyError):
        connect(me="friend", peer="nowhere", addresses="127.0.0.1:1", tls_dir=None)
