"""The authority is renewed while calls run: nothing is lost, and what it issued before is refused after."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest, EchoResponse

from mesh import authority, renewal, tls
from mesh.authority import ISSUES, TRUSTED, WAITS, Authority, Stage
from mesh.channel import connect
from mesh.errors import RemoteFailure
from mesh.streaming import ResponseStream
from sandbox.process import free_port
from tests.edge.followed import is_refused
from tests.mesh.conftest import House
from tests.mesh.echo import SERVICE, WAIT_S, Echo, EchoStub

HI = EchoRequest(text="hi")
NAMES = ("echo", "friend")


async def test_calls_go_on_while_the_authority_is_renewed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.0)
    before = house.tls_dir.with_name("before")
    shutil.copytree(house.tls_dir, before)
    echo = Echo()
    server = await house.start(echo)
    stub = house.stub(server)
    stream = aiter(stub.Watch(EchoRequest(text="wait:long")))
    assert (await anext(stream)).text == "w"
    assert await _takes(server.port, house.tls_dir, before)
    for stage in (Stage.NEXT_TRUSTED, Stage.NEXT_ISSUES, Stage.ALONE):
        assert house.authority.step() is stage
        for name in NAMES:
            house.authority.issue(name)
        # A read by a connection of ours, commands by gRPC's core: both on connections made now.
        await asyncio.gather(*(stub.Echo(HI) for _ in range(5)), *(stub.Command(HI) for _ in range(5)))
        assert await _takes(server.port, house.tls_dir, house.tls_dir)
        assert await _takes(server.port, house.tls_dir, before) is (stage is not Stage.ALONE)
    # What began under the authority before goes on.
    echo.release.set()
    assert [response.text async for response in stream][-1] == "long"


async def test_servers_of_the_authority_before_are_called_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.0)
    old = await house.start(Echo())
    before = house.tls_dir.with_name("before")
    # It sees nothing of what is renewed, and believes both, so that whoever calls is who refuses.
    shutil.copytree(house.tls_dir, before)
    house.authority.step()
    shutil.copy(house.tls_dir / TRUSTED, before / TRUSTED)
    server = await house.start(Echo(), tls_dir=before)
    stub = house.stub(server)
    for _ in range(2):
        assert (await stub.Command(HI, timeout=5)).text == "hi"
        assert (await stub.Echo(HI, timeout=5)).text == "hi"
        house.authority.step()
        house.authority.issue("friend")
    for call in (stub.Command, stub.Echo):
        with pytest.raises(RemoteFailure):
            await call(HI, timeout=0.5)
    house.authority.issue("echo")
    assert (await house.stub(old).Command(HI, timeout=5)).text == "hi"


async def test_a_stream_that_waits_for_a_server_follows(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.01)
    place = f"127.0.0.1:{free_port()}"
    async with _waiting_at(place, house) as (_, first):
        # Nobody is there, nothing else is called, and who comes takes new certificates alone.
        for _ in Stage:
            house.authority.step()
        for name in NAMES:
            house.authority.issue(name)
        await house.start(Echo(), listen=place)
        async with asyncio.timeout(WAIT_S):
            assert (await first).text == "x"


async def test_a_stream_that_is_left_in_the_moment_when_it_follows_ends(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.0)
    async with _waiting_at(f"127.0.0.1:{free_port()}", house) as (stream, first):
        stream.move()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not stream.waits


@asynccontextmanager
async def _waiting_at(
    place: str, house: House
) -> AsyncIterator[tuple[ResponseStream, asyncio.Task[EchoResponse]]]:
    """A stream for whom nobody is there yet, and its first answer."""
    async with connect(
        me="friend", peer="echo", addresses=place, tls_dir=house.tls_dir, service=SERVICE
    ) as channel:
        stream: Any = EchoStub(channel).Watch(EchoRequest(text="x"))

        async def first() -> EchoResponse:
            answer: EchoResponse = await anext(aiter(stream))
            return answer

        task = asyncio.create_task(first())
        await asyncio.sleep(0)
        yield stream, task


def test_a_change_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    first = _issuers(tmp_path, Authority.open(tmp_path))
    # The key of the next one is there, and nobody trusts it yet.
    trusted = (tmp_path / TRUSTED).read_bytes()
    Authority(tmp_path).step()
    (tmp_path / TRUSTED).write_bytes(trusted)
    assert Authority(tmp_path).stage is Stage.ALONE
    assert Authority(tmp_path).step() is Stage.NEXT_TRUSTED
    assert Authority.open(tmp_path).stage is Stage.NEXT_TRUSTED
    assert _issuers(tmp_path, Authority(tmp_path)) == first
    # The next one has the key, and has issued nothing.
    assert Authority(tmp_path).step() is Stage.NEXT_ISSUES
    assert not (tmp_path / WAITS).exists()
    assert Authority.open(tmp_path).stage is Stage.NEXT_ISSUES
    second = _issuers(tmp_path, Authority(tmp_path))
    assert second != first
    assert len(_trusted(tmp_path)) == 2
    assert Authority(tmp_path).step() is Stage.ALONE
    assert {one.subject for one in _trusted(tmp_path)} == second


def test_a_folder_without_an_authority_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no authority"):
        Authority(tmp_path)
    assert not list(tmp_path.iterdir())
    Authority.open(tmp_path)
    Authority.open(tmp_path / "other")
    shutil.copy(tmp_path / "other" / ISSUES, tmp_path / ISSUES)
    with pytest.raises(ValueError, match="the key of nobody"):
        Authority(tmp_path)


def test_steps_come_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hurries: everybody gets a new certificate, and who is trusted, before the next step."""
    opened = Authority.open(tmp_path)
    assert not opened.is_step_due()
    monkeypatch.setattr(authority, "RENEW_BELOW", 1)
    assert opened.is_step_due()
    opened.step()
    assert not opened.is_step_due()
    monkeypatch.setattr(authority, "CERTIFICATE_DAYS", 0)
    assert opened.is_step_due()
    opened.step()
    assert opened.is_step_due()
    monkeypatch.setattr(authority, "CERTIFICATE_DAYS", 30)
    assert not opened.is_step_due()
    opened.step()
    monkeypatch.setattr(authority, "RENEW_BELOW", 1 / 3)
    assert not opened.is_step_due()


def test_a_change_that_begins_late_comes_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would be believed between the end of the one and the step by which the next issues."""
    monkeypatch.setattr(authority, "AUTHORITY_DAYS", 0)
    ending = Authority.open(tmp_path)
    assert ending.is_step_due()
    monkeypatch.setattr(authority, "AUTHORITY_DAYS", 365)
    ending.step()
    assert ending.is_step_due()
    ending.step()
    # The one before may be believed for as long as ever.
    assert not ending.is_step_due()


def _issuers(folder: Path, issuing: Authority) -> set[x509.Name]:
    issuing.issue("echo")
    return {x509.load_pem_x509_certificate((folder / "echo.pem").read_bytes()).issuer}


def _trusted(folder: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((folder / TRUSTED).read_bytes())


async def _takes(port: int, believes: Path, shows: Path) -> bool:
    """Whether the server goes on after the handshake with a client that shows that folder's certificate."""
    context = tls.client_context(believes, "friend")
    context.load_cert_chain(shows / "friend.pem", shows / "friend.key")
    return not await is_refused(f"127.0.0.1:{port}", context, "echo.satreel")
