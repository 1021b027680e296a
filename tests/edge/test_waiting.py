"""While nobody leads, requests that have reached no service wait at the edge: in bounds, and done once."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from satreel.rounds.v1 import rounds_service_pb2 as pb
from satreel.rounds.v1 import rounds_service_pb2_grpc

from mesh import tls
from mesh.authority import Authority
from mesh.status import DETAILS_KEY
from sandbox.process import LOOPBACK
from tests.edge.lone import alone, serving
from topology import edge
from topology.calls import Call, all_calls
from topology.edge import routes
from topology.edge.errors import OVERLOAD
from topology.envoy import Json
from topology.sidecar.errors import local_replies

ROUNDS = "satreel.rounds.v1.RoundsService"
ASKED = pb.ListRoundsRequest(page_size=3)
PATH = "/v1/rounds?pageSize=3"
SOON = {"grpc-timeout": "2S"}
# Who waits is found waiting, however long it takes to look.
PATIENCE_S = 60.0


class Rounds(rounds_service_pb2_grpc.RoundsServiceServicer):
    """Counts what reaches it."""

    def __init__(self) -> None:
        self.calls = 0
        # With what it refuses, if it does.
        self.refusal: tuple[tuple[str, str | bytes], ...] = ()

    async def ListRounds(self, request: pb.ListRoundsRequest, context: Any) -> pb.ListRoundsResponse:
        self.calls += 1
        if self.refusal:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much", self.refusal)
        return pb.ListRoundsResponse()


@dataclass(frozen=True, slots=True)
class Door:
    """An edge, and the only instance behind it."""

    places: edge.Places
    tls_dir: Path
    rounds: Rounds
    healths: health.aio.HealthServicer
    client: aiohttp.ClientSession

    async def lead(self, yes: bool) -> None:
        reply = health_pb2.HealthCheckResponse
        await self.healths.set(ROUNDS, reply.SERVING if yes else reply.NOT_SERVING)

    async def rest(self, **headers: str) -> tuple[int, Any, Any]:
        """Status, headers and JSON."""
        async with self.client.get(f"http://{self.places.http}{PATH}", headers=headers) as response:
            return response.status, response.headers, await response.json()

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[rounds_service_pb2_grpc.RoundsServiceStub]:
        """As a team's program has it."""
        credentials = tls.channel_credentials(self.tls_dir, "edge")
        options = [("grpc.ssl_target_name_override", "edge.satreel")]
        async with grpc.aio.secure_channel(self.places.https, credentials, options) as channel:
            yield rounds_service_pb2_grpc.RoundsServiceStub(channel)

    async def until(self, stat: str, value: int) -> None:
        """Envoy counts so many."""
        url = f"http://{self.places.admin}/stats?filter=^{stat}$"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with self.client.get(url) as response:
                    if (await response.text()).strip() == f"{stat}: {value}":
                        return
                await asyncio.sleep(0.02)

    async def until_waiting(self, count: int, service: str = "rounds") -> None:
        await self.until(f"cluster.{service}_waiting.upstream_rq_active", count)


async def authorized(_request: web.Request) -> web.Response:
    return web.Response(headers={"x-satreel-user-token": "theirs"})


def patient_calls() -> tuple[Call, ...]:
    """All, with longer deadlines than those of the contracts."""
    return tuple(replace(one, method=replace(one.method, timeout_s=PATIENCE_S)) for one in all_calls())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "all_calls", patient_calls)


@asynccontextmanager
async def door(folder: Path, **limits: int) -> AsyncIterator[Door]:
    """Nobody leads yet."""
    Authority.open(folder / "tls").issue("rounds")
    rounds = Rounds()  # type: ignore[abstract] # the others answer UNIMPLEMENTED
    server, healths = grpc.aio.server(), health.aio.HealthServicer()
    rounds_service_pb2_grpc.add_RoundsServiceServicer_to_server(rounds, server)
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    port = server.add_secure_port(f"{LOOPBACK}:0", tls.server_credentials(folder / "tls", "rounds"))
    await healths.set(ROUNDS, health_pb2.HealthCheckResponse.NOT_SERVING)
    await server.start()
    try:
        async with (
            serving(web.route("*", "/authorize/{path:.*}", authorized)) as gateway,
            aiohttp.ClientSession() as client,
            alone(
                folder,
                gateway=(gateway,),
                services={"rounds": (f"{LOOPBACK}:{port}",)},
                limits=edge.Limits(**limits),
            ) as places,
        ):
            yield Door(places, folder / "tls", rounds, healths, client)
    finally:
        await server.stop(None)


async def test_requests_wait_for_a_leader_and_are_done_once(tmp_path: Path) -> None:
    async with door(tmp_path) as at, at.stub() as stub:
        by_rest = asyncio.ensure_future(at.rest())
        by_grpc = asyncio.ensure_future(stub.ListRounds(ASKED, timeout=PATIENCE_S))
        await at.until_waiting(2)
        assert at.rounds.calls == 0
        await at.lead(True)
        status, headers, _ = await by_rest
        assert status == 200
        assert await by_grpc == pb.ListRoundsResponse()
        assert at.rounds.calls == 2
        assert not [key for key in headers if key.lower().startswith("satreel-")]
        # Nobody waits where somebody leads.
        assert (await at.rest())[0] == 200
        await at.until_waiting(0)
        await at.until("cluster.rounds_waiting.upstream_rq_total", 2)


async def test_at_the_deadline_they_are_told_that_nobody_leads(tmp_path: Path) -> None:
    async with door(tmp_path) as at, at.stub() as stub:
        status, headers, told = await at.rest(**SOON)
        assert (status, headers["retry-after"]) == (503, "1")
        assert (told["code"], told["details"][0]["reason"]) == (14, "UNAVAILABLE")
        # By the header: with a time-out of its own the client would not wait for the edge's word.
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListRounds(ASKED, metadata=tuple(SOON.items()))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "nobody" in str(refused.value.details())
        assert at.rounds.calls == 0


async def test_a_leader_that_has_too_much_to_do_is_asked_once(tmp_path: Path) -> None:
    async with door(tmp_path) as at:
        await at.lead(True)
        at.rounds.refusal = _said_of_overload()
        status, _, told = await at.rest()
        assert (status, told["details"][0]["reason"]) == (429, "OVERLOADED")
        assert at.rounds.calls == 1


def _said_of_overload() -> tuple[tuple[str, str | bytes], ...]:
    """By the sidecar of one that leads."""
    overload = next(one for one in local_replies("rounds")["mappers"] if OVERLOAD in _filters(one))
    said = {one["header"]["key"]: one["header"]["value"] for one in overload["headers_to_add"]}
    del said["grpc-status"]
    binary = said.pop(DETAILS_KEY)
    return (*said.items(), (DETAILS_KEY, b64decode(binary + "=" * (-len(binary) % 4))))


def _filters(mapper: Json) -> list[Json]:
    return list(mapper["filter"].get("and_filter", {"filters": []})["filters"])


async def test_streams_take_no_place_among_those_who_wait(tmp_path: Path) -> None:
    async with door(tmp_path, waiting=1) as at, at.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.WatchRounds(pb.WatchRoundsRequest()).read()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        waiting = asyncio.ensure_future(at.rest())
        await at.until_waiting(1)
        await at.lead(True)
        assert (await waiting)[0] == 200


async def test_who_goes_away_waits_no_longer(tmp_path: Path) -> None:
    async with door(tmp_path) as at:
        gone = asyncio.ensure_future(at.rest())
        await at.until_waiting(1)
        gone.cancel()
        await at.until_waiting(0)
        await at.lead(True)
        assert (await at.rest())[0] == 200
        assert at.rounds.calls == 1


async def test_beyond_a_number_they_are_refused_at_once(tmp_path: Path) -> None:
    async with door(tmp_path, waiting=2) as at:
        waiting = [asyncio.ensure_future(at.rest()) for _ in range(2)]
        await at.until_waiting(2)
        status, headers, told = await at.rest()
        assert (status, headers["retry-after"], told["details"][0]["reason"]) == (429, "1", "OVERLOADED")
        # Who waits for another service has room.
        other = asyncio.ensure_future(at.client.get(f"http://{at.places.http}/v1/blocks/tip"))
        await at.until_waiting(1, "chain")
        other.cancel()
        await at.lead(True)
        assert [(await one)[0] for one in waiting] == [200, 200]
        assert at.rounds.calls == 2
