"""The authority is renewed under load: sidecars follow each step, and refuse what the one before issued."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mesh import tls
from mesh.authority import TRUSTED, Stage
from mesh.contracts import service_of
from sandbox.sidecar import Sidecar
from tests.sidecar.load import loaded
from tests.sidecar.test_trust import context_of, is_refused
from tests.sidecar.town import Town

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOLLOWED, REFUSED = "ssl_context_update_by_sds", "cluster.content.ssl.fail_verify_error"
WELL = "cluster.content.membership_healthy"


@pytest.mark.timeout(90)
async def test_the_authority_is_renewed_under_load(town: Town, tmp_path: Path) -> None:
    town.authority.issue("content")
    before = tmp_path / "before"
    shutil.copytree(town.tls_dir, before)
    async with loaded(town, readers=2, commanders=2) as load:
        await load.more(20)
        for stage in (Stage.NEXT_TRUSTED, Stage.NEXT_ISSUES, Stage.ALONE):
            # Of who is refused it is the certificate that is refused, not whom it believes.
            shutil.copy(town.tls_dir / TRUSTED, before / TRUSTED)
            assert not await is_refused(town, context_of(before, "gateway"))
            await _taken(town, stage)
            await load.more(100)
        assert not load.lost
    shutil.copy(town.tls_dir / TRUSTED, before / TRUSTED)
    assert await is_refused(town, context_of(before, "gateway"))
    assert not await is_refused(town, context_of(town.tls_dir, "gateway"))
    # A server of the one before is called no more.
    assert town.gateway is not None
    for folder, name, count in ((before, REFUSED, 1), (town.tls_dir, WELL, 1)):
        async with _content(town, folder), asyncio.timeout(30):
            while (await _counted(town.gateway, name))[name] < count:
                assert folder == town.tls_dir or not (await _counted(town.gateway, WELL))[WELL]
                await asyncio.sleep(0.05)


async def _taken(town: Town, stage: Stage) -> None:
    """The next step, once all sidecars follow it."""
    assert town.gateway is not None
    replicas = [*town.identities, *(replica for replica, _, _ in town.ledgers)]
    sidecars = [town.gateway, *(replica.sidecar for replica in replicas)]
    seen = [await _counted(sidecar, FOLLOWED) for sidecar in sidecars]
    assert town.authority.step() is stage
    for file in town.tls_dir.glob("*.pem"):
        if file.name != TRUSTED:
            town.authority.issue(file.stem)
    for sidecar, counts in zip(sidecars, seen, strict=True):
        assert counts
        async with asyncio.timeout(30):
            while not _all_more(await _counted(sidecar, FOLLOWED), counts):
                await asyncio.sleep(0.05)


def _all_more(counts: dict[str, int], before: dict[str, int]) -> bool:
    return all(counts[name] > before[name] for name in before)


async def _counted(sidecar: Sidecar, name: str) -> dict[str, int]:
    url = f"http://{sidecar.places.admin}/stats?format=json&filter={name}"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        found = (await response.json())["stats"]
    return {one["name"]: one["value"] for one in found if "name" in one}


@asynccontextmanager
async def _content(town: Town, folder: Path) -> AsyncIterator[None]:
    """Serves where the gateway's sidecar calls content, with the certificate of that folder."""
    assert town.gateway is not None
    (place,) = town.gateway.places.peers["content"].replicas
    server, healths = grpc.aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    await healths.set(service_of("content"), health_pb2.HealthCheckResponse.SERVING)
    server.add_secure_port(place, tls.server_credentials(folder, "content"))
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
