"""A played round's metrics in a real Prometheus: what dashboards and alerts ask is answered, by their names.

Not a part of `make test` (two minutes): `make observability-check`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from sandbox import demo
from sandbox.launcher import running
from sandbox.people import Person
from sandbox.process import LOOPBACK, free_port
from sandbox.report import Report
from sandbox.settings import elsewhere
from tests.edge.lone import serving
from tests.mesh.collector import Collector, collecting
from tests.observability import openmetrics
from tests.observability.test_rules import FOLDER, RULES, expressions, known
from tools.promtool import Missing, prometheus

SCRAPE_S = 1
PATIENCE_S = 60
# Nothing of it happens in the demo: no answer is the right one.
QUIET = ("UNAVAILABLE", 'class="5"', 'outcome="failed"', 'service_name!="edge"', "graphql_subscriptions")


@asynccontextmanager
async def told(collector: Collector) -> AsyncIterator[str]:
    """Where Prometheus asks for what the parts told."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(
            text=openmetrics.page(collector), headers={"Content-Type": openmetrics.CONTENT_TYPE}
        )

    async with serving(web.get("/metrics", answer)) as place:
        yield place


class Prometheus:
    """A running one."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client

    async def ask(self, path: str, **parameters: str) -> Any:
        """The answer's data; its error, if it is one, fails."""
        async with self._client.get(f"/api/v1/{path}", params=parameters) as answer:
            body = await answer.json()
            assert body["status"] == "success", (parameters, body.get("error"))
            return body["data"]

    async def until(self, expression: str) -> None:
        """Waits until the expression has an answer."""
        async with asyncio.timeout(PATIENCE_S):
            while not (await self.ask("query", query=expression))["result"]:
                await asyncio.sleep(0.5)


@asynccontextmanager
async def asking(folder: Path, parts: str, edge: str) -> AsyncIterator[Prometheus]:
    """A Prometheus with our rules that asks these two places."""
    jobs = [
        {"job_name": "parts", "honor_labels": True, "static_configs": [{"targets": [parts]}]},
        {
            "job_name": "envoy",
            "metrics_path": "/stats/prometheus",
            "static_configs": [{"targets": [edge], "labels": {"service_name": "edge"}}],
        },
    ]
    (folder / "prometheus.yaml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
                "rule_files": [str(FOLDER / "rules.yaml")],
                "scrape_configs": jobs,
            }
        )
    )
    place = f"{LOOPBACK}:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            await asyncio.to_thread(prometheus),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={place}",
            "--enable-feature=exemplar-storage",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession(f"http://{place}") as client:
            async with asyncio.timeout(PATIENCE_S):
                while not await _is_ready(client):
                    await asyncio.sleep(0.1)
            yield Prometheus(client)
    finally:
        process.terminate()
        await process.wait()


async def _is_ready(client: aiohttp.ClientSession) -> bool:
    try:
        async with client.get("/-/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@pytest.mark.timeout(400)
async def test_what_is_asked_is_answered_of_a_played_round(tmp_path: Path) -> None:
    try:
        await asyncio.to_thread(prometheus)
    except Missing as problem:
        pytest.skip(str(problem))
    report, seed = Report(colours=False), secrets.token_hex(8)
    admin = Person.of("Admin", "", seed=seed)
    await admin.client.close()
    async with collecting() as collector, told(collector) as parts:
        settings = elsewhere(
            tmp_path / "mesh", round_s=20.0, grace_s=2.0, film_s=1.0, otlp_endpoint=collector.endpoint
        )
        async with running(settings, admin_addresses=[admin.wallet.address], progress=report.step) as house:
            edge = f"{LOOPBACK}:{settings.port('edge-admin')}"
            async with asking(tmp_path, parts, edge) as prometheus_:
                await demo.play(house, report, seed=seed)
                # Its group of rules is computed every half minute.
                await prometheus_.until("slo:payouts:bad_ratio_rate1h")
                await check(prometheus_, collector)


async def check(asked: Prometheus, collector: Collector) -> None:
    """Everything that dashboards, alerts and autoscalers ask; names; exemplars; what fires."""
    empty = [one for one in expressions() if not (await asked.ask("query", query=one))["result"]]
    alerts = {rule["expr"] for rule in RULES if "alert" in rule}
    silent = [one for one in empty if one not in alerts and not any(word in one for word in QUIET)]
    assert not silent, "\n".join(silent)

    names = set(await asked.ask("label/__name__/values"))
    told_by_envoy = {name for name in names if name.startswith("envoy_")}
    of_prometheus = {name for name in names if name.startswith(("scrape_", "up", "ALERTS"))}
    assert names - told_by_envoy - of_prometheus <= known()

    groups = (await asked.ask("rules"))["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}

    exemplars = await asked.ask(
        "query_exemplars", query="graphql_operation_duration_seconds_bucket", start="0", end="4000000000"
    )
    traces = {one["labels"]["trace_id"] for series in exemplars for one in series["exemplars"]}
    assert traces
    assert traces <= {seen.trace_id for seen in collector.spans}
    print(json.dumps({"asked": len(expressions()), "empty": len(empty), "exemplars": len(traces)}))
