"""One GraphQL request is one trace over all processes that work on it: gateway, identity, market, ledger."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mesh import telemetry, tls
from mesh.authority import Authority
from mesh.ids import uuid7
from sandbox.client import Client
from sandbox.people import CHALLENGE, LOG_IN
from sandbox.process import Child, free_port, start_child
from sandbox.wallet import Wallet
from tests.conftest import without_settings
from tests.mesh.collector import Collector, collecting

SERVICES = ("identity", "ledger", "market")
READY_S = 60
PRICE_SATS = 987_654_321
OFFER = """mutation Offer($meme: ID!, $price: Sats!) {
  createListing(memeId: $meme, priceSats: $price) { id }
}"""
MINE = "subscription Mine { balanceChanged { available } }"
DEALS = "subscription Deals { marketActivity { at } }"
LOST = "query Lost { currentRound { number } }"


@dataclass(frozen=True)
class Mesh:
    """Running processes."""

    url: str
    children: dict[str, Child]

    def log(self, service: str) -> list[dict[str, Any]]:
        text = self.children[service].log_path.read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    async def stop(self) -> None:
        """Everything is exported at the end."""
        await asyncio.gather(*(child.stop() for child in self.children.values()))
        codes = {name: child.exit_code for name, child in self.children.items()}
        assert set(codes.values()) == {0}, codes


@asynccontextmanager
async def running(
    folder: Path,
    endpoint: str,
    redis_url: str = "",
    *,
    services: tuple[str, ...] = (),
    trace_ratio: str = "1",
) -> AsyncIterator[Mesh]:
    """The gateway and these services, with mTLS among them."""
    authority = Authority.open(folder / "tls")
    for name in (*SERVICES, "gateway"):
        authority.issue(name)
    _, public_key = tls.make_user_token_keys(folder / "tls")
    # Nobody listens at the places of the others.
    others = ("content", "rounds", "chain", "insight")
    peers = {name: f"127.0.0.1:{free_port()}" for name in (*SERVICES, *others)}
    http = f"127.0.0.1:{free_port()}"
    environment = without_settings() | {
        "SATREEL_PEERS": json.dumps(peers),
        "SATREEL_REDIS_URL": redis_url,
        "SATREEL_DATA_DIR": str(folder),
        "SATREEL_TLS_DIR": str(folder / "tls"),
        "SATREEL_USER_TOKEN_KEY": str(public_key),
        "SATREEL_OTLP_ENDPOINT": endpoint,
        "SATREEL_TRACE_RATIO": trace_ratio,
        "SATREEL_LOG_LEVEL": "debug",
        "SATREEL_DRAIN_S": "0.1",
        "SATREEL_GATEWAY_HTTP_LISTEN": http,
        **{f"SATREEL_{name.upper()}_LISTEN": address for name, address in peers.items()},
    }
    modules = {**{name: f"services.{name}" for name in services}, "gateway": "graphql_gateway"}
    async with AsyncExitStack() as stack:
        mesh = Mesh(f"http://{http}", {})
        for name, module in modules.items():
            log_path = folder / "logs" / f"{name}.log"
            child = await start_child(
                name, [sys.executable, "-m", module], log_path=log_path, env=environment
            )
            stack.push_async_callback(child.stop)
            mesh.children[name] = child
        await until_up(mesh)
        yield mesh


async def until_up(mesh: Mesh) -> None:
    """The gateway answers, and so do the services behind it: their calls wait for them."""
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{mesh.url}/healthz") as response:
                    assert response.status == 200
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)


async def send(mesh: Mesh, token: str, traceparent: str, query: str, **variables: Any) -> Any:
    headers = {"traceparent": traceparent, **({"Authorization": f"Bearer {token}"} if token else {})}
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"{mesh.url}/graphql", json={"query": query, "variables": variables}, headers=headers
        ) as response,
    ):
        return await response.json()


async def log_in(mesh: Mesh) -> str:
    wallet, client = Wallet.random(), Client(mesh.url)
    try:
        challenge = (await client.ask(CHALLENGE, address=wallet.address))["createChallenge"]
        signature = wallet.sign_message(challenge["message"])
        answer = await client.ask(
            LOG_IN, challenge=challenge["id"], address=wallet.address, signature=signature
        )
        return str(answer["logIn"]["accessToken"])
    finally:
        await client.close()


async def first_news(mesh: Mesh, token: str) -> None:
    """One subscription that starts with what is, one that starts with what comes."""
    client = Client(mesh.url)
    client.access_token = token
    try:
        async with aclosing(client.follow(MINE)) as news:
            assert await anext(news) == {"balanceChanged": {"available": 0}}
    finally:
        await client.close()
    async with opened_socket(mesh) as socket:
        await socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": DEALS}})
        await socket.send_json(
            {"id": "2", "type": "subscribe", "payload": {"query": "query Beside { __typename }"}}
        )
        # No news come: what was asked for later is answered, so it has begun.
        assert (await socket.receive_json())["id"] == "2"


@asynccontextmanager
async def opened_socket(mesh: Mesh) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{mesh.url}/graphql", protocols=["graphql-transport-ws"]) as socket,
    ):
        await socket.send_json({"type": "connection_init"})
        assert (await socket.receive_json())["type"] == "connection_ack"
        yield socket


async def paged(mesh: Mesh, traceparent: object) -> None:
    """A query over a WebSocket of a page that says what it belongs to."""
    async with opened_socket(mesh) as socket:
        payload = {"query": "query Page { __typename }", "extensions": {"traceparent": traceparent}}
        await socket.send_json({"id": "1", "type": "subscribe", "payload": payload})
        assert (await socket.receive_json())["payload"]["data"] == {"__typename": "Query"}


async def test_one_trace_over_the_mesh(valkey_url: str, tmp_path: Path) -> None:
    offered, lost, followed = (secrets.token_hex(16) for _ in range(3))
    browser_span = secrets.token_hex(8)
    async with (
        collecting() as collector,
        running(tmp_path, collector.endpoint, valkey_url, services=SERVICES) as mesh,
    ):
        token = await log_in(mesh)
        meme_id = uuid7()
        answer = await send(
            mesh, token, f"00-{offered}-{browser_span}-01", OFFER, meme=meme_id, price=PRICE_SATS
        )
        assert answer["errors"][0]["extensions"]["code"] == "TITLE_NOT_FOUND"
        answer = await send(mesh, "", f"00-{lost}-{browser_span}-01", LOST)
        assert answer["errors"][0]["extensions"]["service"] == "rounds"
        await send(mesh, "", "00-nonsense", "{ __typename }")
        await first_news(mesh, token)
        for traceparent in (f"00-{followed}-{browser_span}-01", "nonsense", 5):
            await paged(mesh, traceparent)
        await mesh.stop()
        check_paged(collector, followed, browser_span)
        check_joined(collector, offered, browser_span)
        check_logged(mesh, offered)
        check_broken(collector, lost)
        check_begun_here(collector)
        check_subscriptions(collector)
        check_secrets(collector, token, meme_id, str(PRICE_SATS))
        check_metrics(collector)


async def test_strangers_do_not_decide_what_is_exported(tmp_path: Path) -> None:
    trace_id = secrets.token_hex(16)
    async with collecting() as collector, running(tmp_path, collector.endpoint, trace_ratio="0") as mesh:
        answer = await send(mesh, "", f"00-{trace_id}-{secrets.token_hex(8)}-01", "{ __typename }")
        assert answer == {"data": {"__typename": "Query"}}
        await mesh.stop()
    # Redis is away here: only such trouble is told.
    assert all("satreel.kept" in seen.attributes for seen in collector.spans)
    assert collector.points("gateway", "graphql.operation.duration") == [
        {"graphql.operation.type": "query", "outcome": "ok"}
    ]


def check_joined(collector: Collector, trace_id: str, parent_id: str) -> None:
    root = "… > gateway server mutation Offer"
    authenticated = f"{root} > gateway client IdentityService/Authenticate"
    listed = f"{root} > gateway client MarketService/CreateListing"
    served = f"{listed} > market server MarketService/CreateListing"
    asked = f"{served} > market client LedgerService/GetTitle"
    # Records and Redis are seen, too; how often they are asked is not the matter here.
    calls = {path for path in collector.paths(trace_id) if "Service/" in path.split(" > ")[-1]}
    assert calls | {root} == {
        root,
        authenticated,
        f"{authenticated} > identity server IdentityService/Authenticate",
        listed,
        served,
        asked,
        f"{asked} > ledger server LedgerService/GetTitle",
    }
    request = collector.named("mutation Offer")
    assert request.span.parent_span_id.hex() == parent_id
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/graphql",
        "http.response.status_code": 200,
        "graphql.operation.type": "mutation",
        "graphql.operation.name": "Offer",
        "graphql.cost": 26.0,
        "graphql.executed": "new",
        "graphql.outcome": "refused",
    }
    assert not any(seen.is_error for seen in collector.trace(trace_id))


def check_logged(mesh: Mesh, trace_id: str) -> None:
    for service, method in (("market", "CreateListing"), ("ledger", "GetTitle")):
        lines = [line for line in mesh.log(service) if line.get("trace_id") == trace_id]
        assert any(line["event"] == "call" and line["method"].endswith(f"/{method}") for line in lines), lines


def check_broken(collector: Collector, trace_id: str) -> None:
    spans = {seen.label: seen for seen in collector.trace(trace_id)}
    assert set(spans) == {"gateway server query Lost", "gateway client RoundsService/GetCurrentRound"}
    assert all(seen.is_error for seen in spans.values())
    assert spans["gateway server query Lost"].attributes["graphql.outcome"] == "failed"


def check_begun_here(collector: Collector) -> None:
    (unnamed,) = [seen for seen in collector.spans if seen.name == "query"]
    assert not unnamed.span.parent_span_id
    assert "graphql.operation.name" not in unnamed.attributes


def check_subscriptions(collector: Collector) -> None:
    for name in ("Mine", "Deals"):
        seen = collector.named(f"subscription {name}")
        assert (seen.kind, seen.span.parent_span_id) == ("server", b"")
        assert seen.attributes["graphql.outcome"] == "ok"
    mine = collector.named("subscription Mine")
    assert f"{mine.label} > gateway client LedgerService/GetAccount" in collector.paths(mine.trace_id)


def check_paged(collector: Collector, trace_id: str, browser_span: str) -> None:
    (joined,) = collector.trace(trace_id)
    assert (joined.name, joined.span.parent_span_id.hex()) == ("query Page", browser_span)
    # Who says nonsense has a trace of its own.
    others = [seen for seen in collector.spans if seen.name == "query Page" and seen is not joined]
    assert [seen.span.parent_span_id for seen in others] == [b"", b""]


def check_secrets(collector: Collector, *unsaid: str) -> None:
    for seen in collector.spans:
        text = str(seen.span)
        assert not [word for word in unsaid if word in text], text


def check_metrics(collector: Collector) -> None:
    units = {"rpc.client.call.duration": "s", "process.cpu.time": "s", "process.memory.usage": "By"}
    for service in ("gateway", "market"):
        assert {name: collector.metrics[service, name].unit for name in units} == units
    for service in SERVICES:
        assert collector.metrics[service, "rpc.server.call.duration"].unit == "s"
    durations = collector.metrics["gateway", "graphql.operation.duration"]
    assert durations.unit == "s"
    assert tuple(durations.histogram.data_points[0].explicit_bounds) == telemetry.DURATION_BUCKETS_S
    told = {
        (point["graphql.operation.type"], point["outcome"])
        for point in collector.points("gateway", "graphql.operation.duration")
    }
    assert told == {
        ("mutation", "ok"),
        ("mutation", "refused"),
        ("query", "failed"),
        ("query", "ok"),
        ("subscription", "ok"),
    }
