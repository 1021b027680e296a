"""The demo round with two of everything behind sidecars: it holds, and a trace has every hop of an action."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from sandbox import demo
from sandbox.launcher import running
from sandbox.people import Person
from sandbox.report import Report
from sandbox.settings import elsewhere
from tests.e2e import hops
from tests.mesh.collector import collecting


@pytest.mark.timeout(400)
async def test_every_action_has_one_joined_trace_through_edge_and_sidecars(tmp_path: Path) -> None:
    report, seed = Report(colours=False), secrets.token_hex(8)
    admin = Person.of("Admin", "", seed=seed)
    await admin.client.close()
    played = {"replicas": 2, "sidecars": True, "round_s": 20.0, "grace_s": 2.0, "film_s": 1.0}
    async with collecting() as collector:
        settings = elsewhere(tmp_path, otlp_endpoint=collector.endpoint, **played)
        async with running(settings, admin_addresses=[admin.wallet.address], progress=report.step) as house:
            await demo.play(house, report, seed=seed)
    print(f"{len(collector.spans)} spans of {sorted({seen.service for seen in collector.spans})}")
    assert hops.missing(collector, sidecars=True) == []
    assert report.failed == []
