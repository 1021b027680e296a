"""Who does not get in: at the door, and at every instance of the running mesh."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh.authority import Authority
from sandbox.launcher import House
from sandbox.process import LOOPBACK
from sandbox.town import Town
from topology import edge

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

LOCK = pb.LockRoundRequest(round_id="0190a000-0000-7000-8000-000000000001")
# A refusal is told on the connection after the handshake (TLS 1.3).
HEARD_S = 5.0


def entrances(house: House) -> list[str]:
    """The door, and every instance."""
    door = f"{LOOPBACK}:{house.settings.https_port}"
    return [door, *(house.layout.entrance(one) for one in house.layout.instances)]


def context_of(house: House, folder: Path, part: str) -> ssl.SSLContext:
    """As a client with the certificate of that folder."""
    context = ssl.create_default_context(cafile=str(house.tls_dir / "ca.pem"))
    context.check_hostname = False
    context.load_cert_chain(folder / f"{part}.pem", folder / f"{part}.key")
    return context


async def is_refused(address: str, context: ssl.SSLContext) -> bool:
    """Whether the connection ends before anything is said."""
    host, _, port = address.partition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    except (ssl.SSLError, ConnectionError):
        return True
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: satreel\r\n\r\n")
        async with asyncio.timeout(HEARD_S):
            return not await reader.read(1)
    except (ssl.SSLError, ConnectionError):
        return True
    finally:
        writer.close()


async def test_tls_1_2_is_refused_everywhere(town: Town) -> None:
    house = town.house
    good = context_of(house, house.tls_dir, "gateway")
    old = context_of(house, house.tls_dir, "gateway")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    found = {address: await is_refused(address, old) for address in entrances(house)}
    assert set(found.values()) == {True}, found
    assert not await is_refused(entrances(house)[0], good), "what is refused is the version"


async def test_a_certificate_of_another_authority_is_refused_everywhere(town: Town, tmp_path: Path) -> None:
    Authority.open(tmp_path).issue("gateway")
    strange = context_of(town.house, tmp_path, "gateway")
    found = {address: await is_refused(address, strange) for address in entrances(town.house)}
    assert set(found.values()) == {True}, found


async def test_a_right_certificate_calls_no_wrong_method(town: Town) -> None:
    house = town.house
    files = [(house.tls_dir / name).read_bytes() for name in ("ca.pem", "market.key", "market.pem")]
    options = [("grpc.ssl_target_name_override", "ledger.satreel")]
    for address in (house.layout.entrance(one) for one in house.layout.of("ledger")):
        credentials = grpc.ssl_channel_credentials(*files)
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await LedgerServiceStub(channel).LockRound(LOCK, timeout=5)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_denied_address_is_refused_until_it_is_not(town: Town) -> None:
    folder = town.house.settings.data_dir.resolve() / "edge"
    edge.place(folder, edge.resource(deny=[LOOPBACK]))
    try:
        status, told = await _until(town.house, 403)
        assert told["details"][0]["reason"] == "ADDRESS_REFUSED", told
    finally:
        edge.place(folder, edge.resource())
    status, _ = await _until(town.house, 200)
    assert status == 200


async def _until(house: House, wanted: int) -> tuple[int, Any]:
    """What the door says, once it says this."""
    async with aiohttp.ClientSession() as client:
        for _ in range(100):
            async with client.get(f"{house.url}/v1/blocks/tip") as response:
                if response.status == wanted:
                    return response.status, await response.json()
            await asyncio.sleep(0.1)
    raise AssertionError(f"no answer with status {wanted}")
