"""The demo round over real processes, a real node and a real Valkey: every claim of its report must hold."""

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
from tests.observability.attributes import strange
from tools.metrics import declared

CHECKS = 26


@pytest.mark.timeout(300)
async def test_the_demo_round_holds_every_claim(tmp_path: Path) -> None:
    report, seed = Report(colours=False), secrets.token_hex(8)
    admin = Person.of("Admin", "", seed=seed)
    await admin.client.close()
    async with collecting() as collector:
        settings = elsewhere(
            tmp_path, round_s=20.0, grace_s=2.0, film_s=1.0, otlp_endpoint=collector.endpoint
        )
        async with running(settings, admin_addresses=[admin.wallet.address], progress=report.step) as house:
            await demo.play(house, report, seed=seed)
    # It was told where Redis is.
    assert "limits are counted by each gateway for itself" not in house.parts.log_path("gateway").read_text()
    assert hops.missing(collector) == []
    assert strange(seen.attributes for seen in collector.spans) == set()
    assert {name for _, name in collector.metrics} <= set(declared())
    assert report.failed == []
    assert len(report.passed) >= CHECKS
