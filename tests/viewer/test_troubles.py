"""What fails or is slow at the edge in traces that are not kept: a real Envoy tells it to the viewer."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.edge.lone import alone, serving
from topology.edge import Places
from viewer.__main__ import running
from viewer.config import ViewerSettings
from viewer.store import Span, Store
from viewer.troubles import spans_of

CLIENT = "b7ad6b7169203331"
SLOW_S = 0.2
METHOD = "satreel.chain.v1.ChainService/GetTip"
ASKED = {
    "bad": "/graphql?is=bad",
    "slow": "/graphql?is=slow",
    "well": "/graphql",
    "nobody": "/v1/blocks/tip",
    "refused": "/nothing",
}
TRACES = {name: f"{number:032x}" for number, name in enumerate((*ASKED, "held"), 1)}


class Behind:
    """A gateway that answers badly or slowly at will, and fails or refuses to authorize."""

    def __init__(self) -> None:
        self.heard: dict[str, str] = {}
        self.routes = (
            web.get("/graphql", self._answer),
            web.get("/authorize/v1/blocks/tip", self._fail),
            web.post(f"/authorize/{METHOD}", self._refuse),
        )

    async def _answer(self, request: web.Request) -> web.Response:
        _, trace, span, _ = request.headers["traceparent"].split("-")
        self.heard[trace] = span
        if request.query.get("is") == "slow":
            await asyncio.sleep(SLOW_S)
        return web.Response(status=500 if request.query.get("is") == "bad" else 200)

    async def _fail(self, _: web.Request) -> web.Response:
        return web.Response(status=500)

    async def _refuse(self, _: web.Request) -> web.Response:
        await asyncio.sleep(SLOW_S)
        return web.Response(status=403)


async def ask(at: Places) -> None:
    """Requests whose traces nobody keeps: by HTTP as strangers, and by gRPC as the market, held for long."""
    async with aiohttp.ClientSession(f"http://{at.http}") as client:
        for name, path in ASKED.items():
            async with client.get(path, headers=in_trace(name)) as response:
                await response.read()
        headers = in_trace("held") | {"content-type": "application/grpc"}
        market = ssl.create_default_context(cafile=at.tls / "ca.pem")
        market.load_cert_chain(at.tls / "market.pem", at.tls / "market.key")
        url = f"https://{at.https}/{METHOD}"
        async with client.post(url, headers=headers, ssl=market, server_hostname="localhost") as response:
            assert response.headers["grpc-status"] == "7"


def in_trace(name: str) -> dict[str, str]:
    return {"traceparent": f"00-{TRACES[name]}-{CLIENT}-00"}


async def test_the_edge_tells_what_failed_and_what_was_slow(tmp_path: Path) -> None:
    settings = ViewerSettings(http_port=0, otlp_port=0, file=tmp_path / "viewer.sqlite")
    gateway = Behind()
    async with (
        running(settings) as viewer,
        serving(*gateway.routes) as behind,
        alone(
            tmp_path,
            gateway=(behind,),
            otlp=viewer.otlp.removeprefix("http://"),
            trace_slow_s=SLOW_S / 2,
        ) as at,
    ):
        await ask(at)
        found = await until_told(settings, {TRACES[name] for name in ("bad", "slow", "nobody", "held")})
        async with aiohttp.ClientSession(viewer.pages) as pages:
            shown = await (await pages.get("/?show=failed")).text()
    assert [TRACES[name] in shown for name in ("bad", "nobody", "slow")] == [True, True, False]
    for name in ("well", "refused"):
        # Unless the machine was busy.
        assert TRACES[name] not in found or found[TRACES[name]].took_ms >= SLOW_S * 500
    bad, slow, nobody, held = (found[TRACES[name]] for name in ("bad", "slow", "nobody", "held"))
    # The gateway's span stands under it.
    assert (bad.span, slow.span) == (gateway.heard[bad.trace], gateway.heard[slow.trace])
    assert (nobody.parent, nobody.attributes["http.status_code"]) == (CLIENT, "503")
    assert (bad.service, bad.name, bad.kind, bad.is_proxy) == ("edge", "GET /graphql", "server", True)
    # Long before anybody behind the edge took it.
    assert (held.name, held.failed) == (f"POST {METHOD}", False)
    assert [one.attributes["satreel.kept"] for one in (bad, slow, nobody)] == ["error", "slow", "error"]
    assert [one.failed for one in (bad, slow, nobody)] == [True, False, True]
    assert slow.took_ms > SLOW_S * 1_000 * 0.9


async def until_told(settings: ViewerSettings, traces: set[str]) -> dict[str, Span]:
    """Waits for these traces; the one span of each trace that there is."""
    store = Store(settings.file, spans_max=1_000, points_max=1_000, bytes_max=4 << 20)
    try:
        async with asyncio.timeout(60):
            while not traces <= {one.trace for one in store.traces("recent")}:
                await asyncio.sleep(0.05)
        return {span.trace: span for one in store.traces("recent") for span in store.trace(one.trace)}
    finally:
        store.close()


def test_what_is_no_record_of_a_request_is_left_out() -> None:
    def record(told: dict[str, str], **more: Any) -> Any:
        attributes = {"component": "proxy", "duration_us": "5", **told}
        return {
            "trace_id": b"t" * 16,
            "span_id": b"s" * 8,
            "time_unix_nano": time.time_ns(),
            "attributes": [{"key": key, "value": {"string_value": text}} for key, text in attributes.items()],
            **more,
        }

    forged = f"00-{'00' * 16}-{CLIENT}-00"
    records = [
        record({}),
        record({"traceparent": forged, "x": "x" * 10_000, "grpc.status_code": "-"}, span_id=b"o" * 8),
        record({"component": "program"}),
        record({"duration_us": "-1"}),
        record({"duration_us": "9" * 400}),
        record({}, trace_id=b"short"),
        record({}, span_id=b""),
        record({}, time_unix_nano=0),
        record({}, time_unix_nano=2**64 - 1),
    ]
    groups: list[Any] = [{"scope_logs": [{"log_records": records}]}]
    first, second = spans_of(ExportLogsServiceRequest(resource_logs=groups))
    assert (first.service, first.ended_ns - first.began_ns, first.parent) == ("unknown", 5_000, "")
    # Not of this trace, so not its parent.
    assert (second.span, second.parent) == (b"o".hex() * 8, "")
    assert (len(str(second.attributes["x"])), "grpc.status_code" in second.attributes) == (500, False)
