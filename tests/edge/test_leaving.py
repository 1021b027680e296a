"""A browser that goes away stops what was done for it, and a retried call is one that may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from satreel.market.v1 import market_service_pb2 as pb
from satreel.market.v1 import market_service_pb2_grpc

from mesh import tls
from mesh.authority import Authority
from mesh.contracts import TIMEOUT_S_DEFAULT
from mesh.status import UNSENT_KEY
from sandbox.process import LOOPBACK
from tests.edge.lone import alone, serving

MARKET = "satreel.market.v1.MarketService"


class Market(market_service_pb2_grpc.MarketServiceServicer):
    """Holds one call for ever, and fails the others as if it did not know what came of them."""

    def __init__(self) -> None:
        self.begun, self.stopped = asyncio.Event(), asyncio.Event()
        self.calls: list[str] = []
        self.metadata: dict[str, Any] = {}

    async def GetOverview(self, request: pb.GetOverviewRequest, context: Any) -> pb.GetOverviewResponse:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()
        raise AssertionError

    async def GetSale(self, request: pb.GetSaleRequest, context: Any) -> pb.GetSaleResponse:
        self.calls.append("GetSale")
        self.metadata = dict(context.invocation_metadata())
        self.metadata["left_s"] = context.time_remaining()
        return await context.abort(grpc.StatusCode.UNAVAILABLE, "away")  # type: ignore[no-any-return]


async def authorized(_request: web.Request) -> web.Response:
    return web.Response(headers={"x-satreel-user-token": "theirs"})


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[str, Market]]:
    """The address of an edge before this market and a gateway that lets everybody in."""
    authority = Authority.open(folder / "tls")
    authority.issue("market")
    market = Market()  # type: ignore[abstract] # the others answer UNIMPLEMENTED
    server, healths = grpc.aio.server(), health.aio.HealthServicer()
    market_service_pb2_grpc.add_MarketServiceServicer_to_server(market, server)
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    await healths.set(MARKET, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_secure_port(f"{LOOPBACK}:0", tls.server_credentials(folder / "tls", "market"))
    await server.start()
    application = web.Application()
    application.router.add_route("*", "/authorize/{path:.*}", authorized)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    gateway = f"{LOOPBACK}:{runner.addresses[0][1]}"
    try:
        async with alone(folder, gateway=(gateway,), services={"market": (f"{LOOPBACK}:{port}",)}) as places:
            yield f"http://{places.http}", market
    finally:
        await server.stop(None)
        await runner.cleanup()


async def test_who_leaves_stops_the_call_and_what_may_be_is_repeated(tmp_path: Path) -> None:
    async with behind(tmp_path) as (url, market), aiohttp.ClientSession() as client:
        leaving = asyncio.create_task(client.get(f"{url}/v1/market"))
        await asyncio.wait_for(market.begun.wait(), 30)
        leaving.cancel()
        await asyncio.wait_for(market.stopped.wait(), 30)

        sale = "01900000-0000-7000-8000-000000000000"
        forged = {
            "x-satreel-user-token": "mine",
            "x-satreel-team": "spiffe://satreel/chain",
            "satreel-health": "found/otherwise",
            "authorization": "Bearer x",
        }
        async with client.get(f"{url}/v1/sales/{sale}", headers=forged) as response:
            assert response.status == 503
        assert market.calls == ["GetSale"] * 3
        # The word of the mesh is the gateway's and the edge's, and the deadline is that of the contract.
        assert market.metadata["x-satreel-user-token"] == "theirs"
        assert market.metadata["x-satreel-client-address"] == "127.0.0.1"
        assert not {"x-satreel-team", "satreel-health"} & set(market.metadata)
        assert 0 < market.metadata["left_s"] < TIMEOUT_S_DEFAULT + 1


async def test_that_nobody_answers_is_told_as_json(tmp_path: Path) -> None:
    async with (
        behind(tmp_path) as (url, _),
        aiohttp.ClientSession(headers={"Authorization": "Bearer any"}) as client,
        client.get(f"{url}/v1/blocks/tip") as response,
    ):
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert (await response.json())["details"][0]["reason"] == "UNAVAILABLE"


async def test_a_gateway_whose_sidecar_bears_no_more_is_not_the_only_one(tmp_path: Path) -> None:
    """It says that nobody has begun with the question; a gateway that refuses itself is not asked twice."""
    heard: dict[str, list[web.Request]] = {"sidecar": [], "gateway": []}

    async def bears_no_more(request: web.Request) -> web.Response:
        heard["sidecar"].append(request)
        return web.Response(status=429, headers={UNSENT_KEY: "1"})

    async def refuses(request: web.Request) -> web.Response:
        heard["gateway"].append(request)
        return web.Response(status=429, headers={"Retry-After": "7"})

    path = "/authorize/{path:.*}"
    async with (
        serving(web.route("*", path, bears_no_more)) as one,
        serving(web.route("*", path, refuses)) as other,
        alone(tmp_path, gateway=(one, other)) as places,
        aiohttp.ClientSession() as client,
        asyncio.timeout(60),
    ):
        asked = 0
        while asked < 5 or not heard["sidecar"]:
            async with client.get(f"http://{places.http}/v1/market") as response:
                asked += 1
                assert (response.status, response.headers["Retry-After"]) == (429, "7")
                assert UNSENT_KEY not in response.headers
    assert len(heard["gateway"]) == asked
    said = [key for one in heard.values() for request in one for key in request.headers]
    assert "x-envoy-retriable-header-names" not in {key.lower() for key in said}
