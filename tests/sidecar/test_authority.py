"""The authority is renewed under load: sidecars follow each step, and refuse what the one before issued."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from mesh.authority import TRUSTED, Stage
from tests.edge import followed
from tests.sidecar.load import loaded
from tests.sidecar.test_trust import context_of, is_refused
from tests.sidecar.town import Town

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_authority_is_renewed_under_load(town: Town, tmp_path: Path) -> None:
    town.authority.issue("content")
    before = tmp_path / "before"
    shutil.copytree(town.tls_dir, before)
    assert town.gateway is not None
    gateway = town.gateway.places
    replicas = [*town.identities, *(replica for replica, _, _ in town.ledgers)]
    admins = [gateway.admin, *(replica.sidecar.places.admin for replica in replicas)]
    async with loaded(town, readers=2, commanders=2) as load:
        for stage in (Stage.NEXT_TRUSTED, Stage.NEXT_ISSUES, Stage.ALONE):
            assert not await is_refused(town, _shows(town, before))
            await followed.step(town.authority, town.tls_dir, stage, *admins)
            await load.more(100)
        assert not load.lost
    assert await is_refused(town, _shows(town, before))
    assert not await is_refused(town, _shows(town, town.tls_dir))
    (content,) = gateway.peers["content"].replicas
    await followed.calls_content(gateway.admin, content, before, town.tls_dir)


async def test_connections_end_so_that_others_follow(town: Town) -> None:
    replica = town.ledgers[0][0]
    context = context_of(town.tls_dir, "gateway")
    await followed.until_sent_away(replica.listen, context, "ledger.satreel")


def _shows(town: Town, folder: Path) -> ssl.SSLContext:
    """Believes as all do now, and shows the certificate of that folder."""
    context = ssl.create_default_context(cafile=str(town.tls_dir / TRUSTED))
    context.load_cert_chain(folder / "gateway.pem", folder / "gateway.key")
    return context
