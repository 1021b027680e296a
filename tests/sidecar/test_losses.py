"""Replicas die and leave, certificates are renewed, all under load: what may be repeated is never lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509

from tests.logs import entries
from tests.sidecar.load import Load, loaded, times_done
from tests.sidecar.standin import broken_file
from tests.sidecar.town import Replica, Town

pytestmark = pytest.mark.asyncio(loop_scope="session")

READERS, COMMANDERS = 3, 6


@pytest_asyncio.fixture(loop_scope="session")
async def load(town: Town) -> AsyncIterator[Load]:
    """On both identities, which both answer."""
    async with loaded(town, readers=READERS, commanders=COMMANDERS) as running:
        yield running


async def test_a_replica_that_dies_takes_nothing_along_that_could_be_saved(town: Town, load: Load) -> None:
    replica = town.identities[0]
    await town.parts.kill(replica.name)
    await load.more(200)
    await town.parts.kill(replica.sidecar.name)
    await load.more(200)
    await load.until_both_answer()
    done = times_done(town.journal)
    # Commands that were with it at that moment, of which nobody knows; none of them twice.
    assert all(failure.outcome_unknown for failure in load.lost.values()), load.lost
    assert all(failure.method.endswith("/LogIn") for failure in load.lost.values()), load.lost
    assert len(load.lost) <= 2 * COMMANDERS
    assert {done[id_] for id_ in load.commands_done} == {1}
    assert max(done.values()) == 1


async def test_a_replica_that_leaves_loses_nothing(town: Town, load: Load) -> None:
    replica = town.identities[1]
    async with town.parts.ended(replica.name):
        await load.more(200)
    await load.until_both_answer()
    done = times_done(town.journal)
    assert not load.lost
    assert {done[id_] for id_ in load.commands_done} == {1}


async def test_certificates_are_renewed_under_load(town: Town, load: Load) -> None:
    replica = town.identities[0]
    before = {part: _serial(town, part) for part in ("gateway", "identity")}
    assert await _shown_by(replica, town) == before["identity"]
    for part in before:
        town.authority.issue(part, renew_below=1)
    now = {part: _serial(town, part) for part in before}
    assert not set(now.values()) & set(before.values())
    async with asyncio.timeout(50):
        while await _shown_by(replica, town) != now["identity"] or _seen_by(replica, town) != now["gateway"]:
            await asyncio.sleep(0.1)
    await load.more(200)
    assert not load.lost


async def test_an_instance_that_fails_where_the_other_does_not_is_left_out(town: Town) -> None:
    replica = town.identities[1]
    broken = broken_file(town.journal, replica.name)
    async with loaded(town, readers=READERS, commanders=0) as load:
        broken.touch()
        async with asyncio.timeout(50):
            while await _left_out(town) == 0:
                await asyncio.sleep(0.05)
        reached = _reads_of(replica, town)
        # Half of these would go there, and they are over before it is tried again.
        await load.more(50)
        assert _reads_of(replica, town) - reached <= READERS
        # It is well by its own word all the time, and comes back only after a while.
        broken.unlink()
        await load.until_both_answer()
    assert not load.lost


def _reads_of(replica: Replica, town: Town) -> int:
    return town.journal.read_text().count(f"{replica.name} GetUser")


async def _left_out(town: Town) -> int:
    """How many identities the gateway's sidecar leaves out."""
    assert town.gateway is not None
    name = "cluster.identity.outlier_detection.ejections_active"
    url = f"http://{town.gateway.places.admin}/stats?filter={name}"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        return int((await response.text()).rpartition(":")[2])


def _serial(town: Town, part: str) -> int:
    return x509.load_pem_x509_certificate((town.tls_dir / f"{part}.pem").read_bytes()).serial_number


async def _shown_by(replica: Replica, town: Town) -> int:
    """The serial number of the certificate that its sidecar shows to whoever connects now."""
    context = ssl.create_default_context(cafile=str(town.tls_dir / "ca.pem"))
    context.load_cert_chain(town.tls_dir / "gateway.pem", town.tls_dir / "gateway.key")
    context.set_alpn_protocols(["h2"])
    host, _, port = replica.listen.rpartition(":")
    _, writer = await asyncio.open_connection(
        host, int(port), ssl=context, server_hostname="identity.satreel"
    )
    shown: Any = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


def _seen_by(replica: Replica, town: Town) -> int:
    """The serial number of the certificate that the last of its callers showed; 0: it has told of none."""
    calls = reversed(entries(town.parts.log_path(replica.sidecar.name)))
    seen = (
        call["certificate_serial"]
        for call in calls
        if call.get("listener") == "inbound" and call["certificate"].endswith("/gateway")
    )
    return int(next(seen, "0"), 16)
