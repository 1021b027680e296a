"""Certificates are renewed while calls run: whoever calls follows, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from cryptography import x509
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest, EchoResponse

from mesh import renewal, tls
from tests.mesh.conftest import House
from tests.mesh.echo import Echo, EchoStub

HI = EchoRequest(text="hi")


class Noting(Echo):
    """Notes whose certificates the last calls showed, by method, and by which connections calls came."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, int] = {}
        self.peers: set[str] = set()

    async def Echo(self, request: EchoRequest, context: Any) -> EchoResponse:
        self._note("Echo", context)
        return await super().Echo(request, context)

    async def Command(self, request: EchoRequest, context: Any) -> EchoResponse:
        self._note("Command", context)
        return await super().Command(request, context)

    def _note(self, method: str, context: Any) -> None:
        self.peers.add(context.peer())
        self.shown[method] = _read(context.auth_context()["x509_pem_cert"][0])


async def test_calls_go_on_with_the_new_certificate(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.05)
    echo = Noting()
    stub = house.stub(await house.start(echo))
    stream = aiter(stub.Watch(EchoRequest(text="wait:long")))
    assert (await anext(stream)).text == "w"
    for _ in range(2):
        for name in ("friend", "echo"):
            house.authority.issue(name, renew_below=1)
        now = _serial(house, "friend")
        async with asyncio.timeout(30):
            while set(echo.shown.values()) != {now}:
                await asyncio.gather(*(stub.Echo(HI) for _ in range(5)), stub.Command(HI))
    # What began with the first certificate goes on.
    echo.release.set()
    assert [response.text async for response in stream][-1] == "long"


async def test_connections_end_in_time_even_if_nothing_was_renewed_here(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = renewal.Renewal(house.tls_dir, "friend")
    monkeypatch.setattr(renewal, "LOOK_S", 0.0)
    assert not made.is_due()
    monkeypatch.setattr(renewal, "CONNECTION_S", 0.0)
    assert made.is_due()


async def test_half_a_renewal_is_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.0)
    house.authority.issue("other")
    other = (house.tls_dir / "other.key").read_bytes()
    # Who connects to a server between its two files gets the pair of before.
    server = await house.start(Echo())
    before = _serial(house, "echo")
    house.authority.issue("echo", renew_below=1)
    tls.write_private(house.tls_dir / "echo.key", other)
    assert await _shown_by(server.port, house) == before
    assert (await house.stub(server).Command(HI, timeout=5)).text == "hi"
    # Callers wait for the second file.
    made = renewal.Renewal(house.tls_dir, "friend")
    tls.write_private(house.tls_dir / "friend.key", other)
    assert not made.is_due()
    house.authority.issue("friend", renew_below=1)
    assert made.is_due()
    assert not made.is_due()


async def _shown_by(port: int, house: House) -> int:
    context = tls.client_context(house.tls_dir, "friend")
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_a_good_certificate_stays_unless_all_are_to_be_made_anew(house: House) -> None:
    before = _serial(house, "friend")
    house.authority.issue("friend")
    assert _serial(house, "friend") == before
    house.authority.issue("friend", renew_below=1)
    assert _serial(house, "friend") != before


def _serial(house: House, name: str) -> int:
    return _read((house.tls_dir / f"{name}.pem").read_bytes())


def _read(pem: bytes) -> int:
    return x509.load_pem_x509_certificate(pem).serial_number


async def test_servers_end_connections_in_time_and_lose_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So who never looks at its certificate shows another one, or the old one no more."""
    monkeypatch.setattr(renewal, "CONNECTION_S", 0.2)
    echo = Noting()
    server = await house.start(echo)
    credentials = tls.channel_credentials(house.tls_dir, "friend")
    options = [("grpc.ssl_target_name_override", "echo.satreel")]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        stub = EchoStub(channel)
        async with asyncio.timeout(20):
            while len(echo.peers) < 3:
                assert (await stub.Echo(HI, timeout=5)).text == "hi"
