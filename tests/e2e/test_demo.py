"""The demo round over real processes, a real node and a real Valkey: every claim of its report must hold."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

from redis.asyncio import Redis

from sandbox import demo
from sandbox.launcher import running
from sandbox.people import Person
from sandbox.report import Report
from sandbox.settings import SandboxSettings, elsewhere
from tests.e2e import hops
from tests.mesh.collector import collecting
from tests.observability.attributes import strange
from tools.metrics import declared

CHECKS = 26
TOLD_S = 120.0


async def limits_counted(settings: SandboxSettings) -> bool:
    async with Redis.from_url(f"redis://127.0.0.1:{settings.port('valkey')}") as redis:
        return bool(await redis.keys("satreel:{limits}:*"))


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
            assert await limits_counted(settings)
            # Spans are told behind what they tell of; those that wait at the end have little time left.
            give_up_at_s = time.monotonic() + TOLD_S
            while hops.missing(collector) and time.monotonic() < give_up_at_s:
                await asyncio.sleep(0.5)
    assert hops.missing(collector) == []
    assert strange(seen.attributes for seen in collector.spans) == set()
    assert {name for _, name in collector.metrics} <= set(declared())
    assert report.failed == []
    assert len(report.passed) >= CHECKS
