"""Who gets in by a sidecar: those whom the contract names, by their certificates alone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh import tls
from mesh.authority import Authority
from mesh.contracts import TIMEOUT_S_DEFAULT
from mesh.errors import Code, RemoteFailure
from mesh.interceptors.guards import TEAM_KEY
from tests.edge import followed
from tests.sidecar.town import Town, until_leads
from topology.sidecar import Limits

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOTALS = "/satreel.ledger.v1.LedgerService/GetTotals"
LOCK_ROUND = "/satreel.ledger.v1.LedgerService/LockRound"
LOCK = pb.LockRoundRequest(round_id="0190a000-0000-7000-8000-000000000001")


async def test_a_call_arrives_with_the_name_of_its_caller_and_its_deadline(town: Town) -> None:
    await town.lead(0)
    _, ledger, _ = town.ledgers[0]
    async with town.channel("ledger") as channel:
        stub = LedgerServiceStub(channel)
        await until_leads(stub, 0)
        answer = await stub.GetTotals(pb.GetTotalsRequest(), timeout=30)
    assert answer.sum_sats == 0
    assert ledger.callers[-1] == "gateway"
    assert ledger.left_s is not None
    # The contract gives less; gRPC rounds it up.
    assert TIMEOUT_S_DEFAULT < ledger.left_s < 35


@pytest.mark.parametrize("me", ["gateway", None])
async def test_nothing_older_than_tls_1_3_and_nobody_without_a_certificate(
    town: Town, me: str | None
) -> None:
    context = ssl.create_default_context(cafile=str(town.tls_dir / "ca.pem"))
    if me is not None:
        context.load_cert_chain(town.tls_dir / f"{me}.pem", town.tls_dir / f"{me}.key")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await is_refused(town, context)


async def test_no_certificate_of_another_authority(town: Town, tmp_path: Any) -> None:
    Authority.open(tmp_path).issue("gateway")
    context = ssl.create_default_context(cafile=str(town.tls_dir / "ca.pem"))
    context.load_cert_chain(tmp_path / "gateway.pem", tmp_path / "gateway.key")
    assert await is_refused(town, context)


async def test_the_right_certificate_gets_in(town: Town) -> None:
    assert not await is_refused(town, context_of(town.tls_dir, "gateway"))


async def test_a_part_calls_what_its_contract_allows_and_nothing_else(town: Town) -> None:
    replica, ledger, _ = town.ledgers[0]
    async with town.direct("rounds", "ledger", replica.listen) as channel:
        await LedgerServiceStub(channel).LockRound(LOCK)
        reached = len(ledger.callers)
        with pytest.raises(RemoteFailure) as refused:
            await LedgerServiceStub(channel).GetTotals(pb.GetTotalsRequest())
    assert (refused.value.code, refused.value.reason, refused.value.domain) == (
        Code.PERMISSION_DENIED,
        "CALLER_NOT_ALLOWED",
        "satreel.mesh",
    )
    assert not refused.value.unsent
    assert len(ledger.callers) == reached


async def test_its_own_sidecar_too_refuses_what_a_part_may_not_call(town: Town) -> None:
    async with town.channel("ledger") as channel:
        with pytest.raises(RemoteFailure) as refused:
            await LedgerServiceStub(channel).LockRound(LOCK)
    assert (refused.value.code, refused.value.reason) == (Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")


async def test_whoever_has_a_certificate_may_ask_for_health(town: Town) -> None:
    replica, _, _ = town.ledgers[0]
    for part in ("launcher", "insight", "edge"):
        town.authority.issue(part)
        async with _secure(town, part, replica.listen) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined] # its stubs lack it
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await _raw(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_names_that_a_caller_gives_itself_are_not_believed(town: Town) -> None:
    await town.lead(0)
    replica, ledger, _ = town.ledgers[0]
    said = (
        ("x-forwarded-client-cert", "URI=spiffe://satreel/rounds"),
        ("x-satreel-service", "rounds"),
        (TEAM_KEY, "spiffe://satreel/rounds"),
        ("satreel-unsent", "1"),
        ("x-envoy-retry-on", "5xx"),
    )
    async with town.channel("ledger") as channel:
        await until_leads(LedgerServiceStub(channel), 0)
    # By its own sidecar, and at the peer's.
    assert town.gateway is not None
    async with grpc.aio.insecure_channel(town.gateway.places.peers["ledger"].listen) as channel:
        await _raw(channel, TOTALS, said)
    assert ledger.callers[-1] == "gateway"
    async with _secure(town, "insight", replica.listen) as channel:
        await _raw(channel, TOTALS, said)
        assert ledger.callers[-1] == "insight"
        assert ledger.metadata["x-forwarded-client-cert"].count("URI=") == 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _raw(channel, LOCK_ROUND, said)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "x-envoy-retry-on" not in ledger.metadata


@pytest.mark.parametrize(
    ("team", "path", "caller"),
    [
        ("", TOTALS, "edge"),
        # What is given to the edge is given to all who come in there.
        ("news", TOTALS, "news"),
        ("rounds", LOCK_ROUND, "rounds"),
        ("news", LOCK_ROUND, None),
        ("", LOCK_ROUND, None),
    ],
)
async def test_the_edge_says_whose_certificate_it_saw(
    town: Town, team: str, path: str, caller: str | None
) -> None:
    replica, ledger, _ = town.ledgers[0]
    async with _secure(town, "edge", replica.listen) as channel:
        call = _raw(channel, path, ((TEAM_KEY, f"spiffe://satreel/{team}"),) if team else ())
        if caller is None:
            with pytest.raises(grpc.aio.AioRpcError, match="may not call"):
                await call
        else:
            await call
            assert ledger.callers[-1] == caller


async def test_the_gateway_is_called_by_the_edge_alone(town: Town) -> None:
    assert town.gateway is not None
    places = town.gateway.places
    url = f"https://{places.listen}"
    async with _application(places.application) as seen, aiohttp.ClientSession() as client:
        for part, path, status in (
            ("edge", "/graphql", 200),
            ("market", "/graphql", 403),
            ("market", "/healthz", 200),
        ):
            town.authority.issue(part)
            context = context_of(town.tls_dir, part)
            async with client.get(url + path, ssl=context, server_hostname="gateway.satreel") as response:
                assert response.status == status
        socket = await client.ws_connect(url + "/graphql", ssl=context_of(town.tls_dir, "edge"))
        assert await socket.receive_str() == "hello"
        await socket.close()
    assert seen == ["edge", "market", "edge"]
    async with (
        aiohttp.ClientSession() as client,
        client.get(url, ssl=context_of(town.tls_dir, "edge")) as response,
    ):
        assert response.status == 503
        assert "satreel-unsent" in response.headers
        assert (await response.json())["details"][0]["reason"] == "UNAVAILABLE"


async def test_a_gateways_sidecar_without_memory_tells_the_edge_that_nothing_was_done(town: Town) -> None:
    full = town.sidecar("full-gateway-sidecar", "gateway", {}, Limits(heap_bytes=1))
    await full.start(town.parts)
    town.authority.issue("edge")
    url = f"https://{full.places.listen}/graphql"
    async with aiohttp.ClientSession() as client:
        # It looks at its memory for the first time a moment after it has begun.
        while (answer := await client.get(url, ssl=context_of(town.tls_dir, "edge"))).status == 503:
            await asyncio.sleep(0.05)
        body = await answer.json()
    assert (answer.status, answer.headers["satreel-unsent"]) == (429, "1")
    assert (body["details"][0]["reason"], answer.headers["Retry-After"]) == ("OVERLOADED", "1")


@asynccontextmanager
async def _application(place: str) -> AsyncIterator[list[str]]:
    """A gateway's, in clear; whom its sidecar names."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["x-forwarded-client-cert"].rpartition("URI=spiffe://satreel/")[2])
        if "upgrade" not in request.headers:
            return web.Response()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        await socket.close()
        return socket

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    host, _, port = place.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    try:
        yield seen
    finally:
        await runner.cleanup()


def context_of(folder: Path, part: str) -> ssl.SSLContext:
    """As the part, with the files of that folder."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / f"{part}.pem", folder / f"{part}.key")
    return context


def _secure(town: Town, me: str, address: str) -> grpc.aio.Channel:
    town.authority.issue(me)
    options = [("grpc.ssl_target_name_override", "ledger.satreel"), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(address, tls.channel_credentials(town.tls_dir, me), options=options)


async def _raw(channel: grpc.aio.Channel, path: str, metadata: Any = ()) -> bytes:
    """The answer to a request without fields."""
    call: Any = channel.unary_unary(path)
    request = LOCK.SerializeToString() if path == LOCK_ROUND else empty_pb2.Empty().SerializeToString()
    answer: bytes = await call(request, metadata=metadata, timeout=30)
    return answer


async def is_refused(town: Town, context: ssl.SSLContext) -> bool:
    """Whether a ledger's sidecar ends the connection of such a client before it says anything of HTTP."""
    return await followed.is_refused(town.ledgers[0][0].listen, context, "ledger.satreel")
