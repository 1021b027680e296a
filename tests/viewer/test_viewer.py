"""The viewer: what arrives over OTLP is shown; what is hostile is left out; the file stays within bounds."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.client.browser import CHROMIUM
from viewer.__main__ import Addresses, running
from viewer.config import ViewerSettings
from viewer.store import TRACE_SPANS_MAX, Span, Store

MS = 1_000_000


def told(name: str, value: str) -> Any:
    return {"key": name, "value": {"string_value": value}}


def resource(service: str, instance: str = "") -> Any:
    return {"attributes": [told("service.name", service), told("service.instance.id", instance)]}


def spans(trace: bytes) -> trace_service_pb2.ExportTraceServiceRequest:
    """A request through three parts; the last fails. Its name tries to be markup."""
    began = time.time_ns() - 400 * MS
    root, call, served, asked = (bytes([n]) * 8 for n in range(1, 5))

    def span(  # noqa: PLR0917 - a line for each is easier to read
        own: bytes, parent: bytes, name: str, kind: int, at_ms: int, took_ms: int, **more: Any
    ) -> Any:
        return {
            "trace_id": trace,
            "span_id": own,
            "parent_span_id": parent,
            "name": name,
            "kind": kind,
            "start_time_unix_nano": began + at_ms * MS,
            "end_time_unix_nano": began + (at_ms + took_ms) * MS,
            **more,
        }

    bad = {"status": {"code": 2}, "attributes": [told("error.type", "UNAVAILABLE")]}
    groups = [
        (
            "gateway",
            [
                span(root, b"", "mutation <script>alert(1)</script>", 2, 0, 120),
                span(call, root, "satreel.market.v1.MarketService/Buy", 3, 5, 100),
            ],
        ),
        ("market", [span(served, call, "satreel.market.v1.MarketService/Buy", 2, 8, 95)]),
        ("ledger", [span(asked, served, "satreel.ledger.v1.LedgerService/Post", 2, 20, 70, **bad)]),
    ]
    told_of: list[Any] = [
        {"resource": resource(service), "scope_spans": [{"spans": found}]} for service, found in groups
    ]
    return trace_service_pb2.ExportTraceServiceRequest(resource_spans=told_of)


def numbers(at_ns: int, value: int, instance: str = "") -> metrics_service_pb2.ExportMetricsServiceRequest:
    point = {"time_unix_nano": at_ns, "as_int": value, "attributes": [told("state", "PUBLISHED")]}
    metric = {
        "name": "content.stages",
        "unit": "{meme}",
        "sum": {"is_monotonic": True, "data_points": [point]},
    }
    group: Any = {"resource": resource("content", instance), "scope_metrics": [{"metrics": [metric]}]}
    return metrics_service_pb2.ExportMetricsServiceRequest(resource_metrics=[group])


async def send(addresses: Addresses, *requests: Any) -> None:
    async with grpc.aio.insecure_channel(addresses.otlp.removeprefix("http://")) as channel:
        for request in requests:
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
                await trace_service_pb2_grpc.TraceServiceStub(channel).Export(request)  # type: ignore[no-untyped-call]
            else:
                await metrics_service_pb2_grpc.MetricsServiceStub(channel).Export(request)  # type: ignore[no-untyped-call]


async def page(addresses: Addresses, path: str, status: int = 200, **headers: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(addresses.pages + path, headers=headers) as response:
        assert response.status == status, await response.text()
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        return await response.text()


def settings(folder: Path) -> ViewerSettings:
    return ViewerSettings(http_port=0, otlp_port=0, file=folder / "viewer.sqlite")


async def test_pages_show_what_came(tmp_path: Path) -> None:
    trace = secrets.token_bytes(16)
    now = time.time_ns()
    async with running(settings(tmp_path)) as addresses:
        assert "No traces yet" in await page(addresses, "/")
        await send(addresses, spans(trace), numbers(now - 10**10, 5), numbers(now, 25))
        failed = await page(addresses, "/?show=failed")
        assert "&lt;script&gt;" in failed
        assert "<script" not in failed
        assert "None of those kept." in await page(addresses, "/?service=nobody")
        shown = await page(addresses, f"/trace/{trace.hex()}")
        assert "4 spans in 3 parts" in shown
        assert "UNAVAILABLE" in shown
        assert "<script" not in shown
        drawn = await page(addresses, "/map")
        for text in ("gateway → market: 1 calls, 0 failed", "market → ledger: 1 calls, 1 failed", "100.0 %"):
            assert text in drawn
        assert "<h2>content</h2>" in (listed := await page(addresses, "/metrics"))
        assert "content.stages" in listed
        assert ">meme a second<" in (chart := await page(addresses, "/metrics/content.stages"))
        assert "state=PUBLISHED" in chart
        await page(addresses, "/trace/" + "0" * 32, status=404)
        await page(addresses, "/", status=403, Host="satreel.example")


async def test_each_instance_counts_for_itself(tmp_path: Path) -> None:
    now = time.time_ns()
    told_of = [(20, 1_000, "one"), (19, 10, "two"), (10, 1_020, "one"), (9, 40, "two"), (0, 1_050, "one")]
    async with running(settings(tmp_path)) as addresses:
        sent = [numbers(now - ago * 10**9, value, f"here {name}") for ago, value, name in told_of]
        await send(addresses, *sent[:-1])
        chart = await page(addresses, "/metrics/content.stages")
        assert ('content@here one state=PUBLISHED</code></td><td class="n">2</td>') in chart
        assert ('content@here two state=PUBLISHED</code></td><td class="n">3</td>') in chart
        await send(addresses, sent[-1])
        assert 'here one state=PUBLISHED</code></td><td class="n">3</td>' in (
            await page(addresses, "/metrics/content.stages")
        )


async def test_what_is_hostile_or_broken_is_left_out(tmp_path: Path) -> None:
    trace = secrets.token_bytes(16)
    async with running(settings(tmp_path)) as addresses:
        request = spans(trace)
        found = request.resource_spans[0].scope_spans[0].spans
        found[0].trace_id = b"short"
        found[1].end_time_unix_nano = 2**64 - 1
        found.add(trace_id=trace, span_id=b"8" * 8, parent_span_id=b"8" * 8, name="x" * 100_000).CopyFrom(
            found[1]
        )
        request.resource_spans[1].scope_spans[0].spans[0].name = "n" * 100_000
        own = request.resource_spans[1].scope_spans[0].spans[0]
        own.parent_span_id = own.span_id
        await send(addresses, request)
        async with grpc.aio.insecure_channel(addresses.otlp.removeprefix("http://")) as channel:
            raw: Any = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            for body in (b"\xff" * 1000, b"x" * (5 << 20)):
                with pytest.raises(grpc.aio.AioRpcError):
                    await raw(body)
        broken = numbers(time.time_ns(), 1)
        point = broken.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
        point.as_double = float("inf")
        await send(addresses, broken)
        shown = await page(addresses, f"/trace/{trace.hex()}")
        assert "2 spans in 2 parts" in shown
        assert "n" * 501 not in shown
        assert "No metrics yet" in await page(addresses, "/metrics")


async def test_of_a_trace_without_end_the_beginning_is_shown(tmp_path: Path) -> None:
    trace, began = secrets.token_bytes(16), time.time_ns() - 10**9
    store = Store(tmp_path / "viewer.sqlite", spans_max=10_000, points_max=1_000, bytes_max=1 << 26)
    store.add_spans(
        Span(trace.hex(), f"{n:016x}", "", "edge", f"{n:016x}", "server", began + n, began + n, True)
        for n in range(TRACE_SPANS_MAX + 1)
    )
    store.close()
    async with running(settings(tmp_path)) as addresses:
        shown = await page(addresses, f"/trace/{trace.hex()}")
    assert f"the first {TRACE_SPANS_MAX} spans" in shown
    assert f"{TRACE_SPANS_MAX - 1:016x}" in shown
    assert f"{TRACE_SPANS_MAX:016x}" not in shown


async def test_a_trace_is_named_by_who_knows_what_is_done(tmp_path: Path) -> None:
    began = time.time_ns() - 10**9
    method = "GET satreel.rounds.v1.RoundsService/GetRound"

    def seen(trace: str, names: list[tuple[str, str]]) -> list[Span]:
        proxy: dict[str, object] = {"component": "proxy"}
        return [
            Span(trace, f"{n:016x}", "", part, name, "server", began + n, began + n, False,
                 proxy if part == "edge" else {})
            for n, (part, name) in enumerate(names)
        ]  # fmt: skip

    asked = [("edge", method), ("gateway", "GET /authorize/{path}"), ("rounds", method.removeprefix("GET "))]
    store = Store(tmp_path / "viewer.sqlite", spans_max=1_000, points_max=1_000, bytes_max=1 << 26)
    store.add_spans(seen("a" * 32, asked))
    store.add_spans(seen("b" * 32, [("edge", "POST /graphql"), ("gateway", "query Meme")]))
    store.add_spans(seen("c" * 32, [("edge", "GET nothing")]))
    assert {one.trace[0]: one.name for one in store.traces("")} == {
        "a": method, "b": "query Meme", "c": "GET nothing",
    }  # fmt: skip
    store.close()
    async with running(settings(tmp_path)) as addresses:
        assert f"<h1>{method}</h1>" in await page(addresses, "/trace/" + "a" * 32)
        alone = await page(addresses, "/trace/" + "c" * 32)
    assert "1 span in 1 part " in alone


def test_the_oldest_go(tmp_path: Path) -> None:
    store = Store(tmp_path / "v.sqlite", spans_max=1_000, points_max=1_000, bytes_max=1 << 20)
    text: dict[str, object] = {"filler": "x" * 400}
    for number in range(40):
        store.add_spans(
            Span(f"{number:032x}", f"{n:016x}", "", "a", "b", "server", at, at + 5, False, text)
            for n in range(1, 101)
            for at in (number * 1_000 + n,)
        )
    kept = store.traces("recent")
    assert kept[0].began_ns == 39_001
    assert 0 < sum(one.spans for one in kept) <= 1_000
    assert not store.trace(f"{0:032x}")
    assert store._bytes() <= 1 << 20
    store.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
async def test_a_browser_shows_the_waterfall(tmp_path: Path) -> None:
    trace = secrets.token_bytes(16)
    async with running(settings(tmp_path)) as addresses:
        await send(addresses, spans(trace))
        browser = await asyncio.create_subprocess_exec(
            str(CHROMIUM),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *(
                f"--user-data-dir={tmp_path / 'browser'}",
                f"--screenshot={tmp_path / 'page.png'}",
                "--dump-dom",
            ),
            "--enable-logging=stderr",
            f"{addresses.pages}/trace/{trace.hex()}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(browser.communicate(), 150)
    document = out.decode()
    assert document.count('class="bar') == 4
    assert document.count('class="bar bad"') == 1
    assert "Content Security Policy" not in err.decode()
