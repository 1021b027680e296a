"""The launcher's care for certificates."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from cryptography import x509

from mesh import authority
from mesh.authority import Authority, Stage
from sandbox import certificates
from sandbox.certificates import NAMES, Certificates


def test_of_those_who_come_first_one_makes_the_authority(tmp_path: Path) -> None:
    place = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with ThreadPoolExecutor() as threads:
        fcntl.flock(place, fcntl.LOCK_EX)
        coming = [threads.submit(Certificates, tmp_path) for _ in range(2)]
        # Enough to have begun, where nothing keeps them.
        wait(coming, 0.3)
        assert not list(tmp_path.iterdir())
        os.close(place)
        for one in coming:
            one.result(30)
    assert len(_trusted(tmp_path)) == 1
    Authority(tmp_path)


async def test_what_cannot_be_renewed_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_S", 0.01)
    kept, told = Certificates(tmp_path / "tls"), list[str]()
    (tmp_path / "tls").rename(tmp_path / "away")
    keeping = asyncio.create_task(kept.keep(told.append))
    async with asyncio.timeout(30):
        while len(told) < 2:
            await asyncio.sleep(0.01)
        assert "cannot be renewed" in told[0]
        (tmp_path / "away").rename(tmp_path / "tls")
        while not (tmp_path / "tls" / "ledger.pem").is_file():
            await asyncio.sleep(0.01)
    keeping.cancel()


async def test_a_change_of_authority_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    folder, told = tmp_path / "tls", list[str]()
    kept = Certificates(folder)
    kept.make()
    (first,) = _trusted(folder)
    # Whoever breaks off in a pause has waited for nothing: the run after waits again.
    for begun in ("the next one is trusted too", "the next one issues"):
        running = asyncio.create_task(kept.renew_authority(told.append, pause_s=3600))
        async with asyncio.timeout(30):
            while not (told and told[-1].startswith((begun, f"goes on: {begun}"))):
                await asyncio.sleep(0.01)
        running.cancel()
        if begun == "the next one is trusted too":
            assert _issuers(folder) == {first.subject}
            # Of the second step the key alone was moved, and no certificate made.
            Authority(folder).step()
    assert first in _trusted(folder)
    assert len(_issuers(folder)) == 1
    assert first.subject not in _issuers(folder)
    await kept.renew_authority(told.append, pause_s=0)
    (last,) = _trusted(folder)
    assert _issuers(folder) == {last.subject}
    assert told[-1] == "the new authority alone is trusted"


async def test_two_who_renew_the_authority_wait_for_each_others_steps(tmp_path: Path) -> None:
    kept, told, pause_s = Certificates(tmp_path), list[tuple[float, str]](), 0.3
    kept.make()
    (first,) = _trusted(tmp_path)

    def tell(line: str) -> None:
        told.append((time.monotonic(), line))

    one = asyncio.create_task(kept.renew_authority(tell, pause_s=pause_s))
    while not told:
        await asyncio.sleep(0.01)
    # In the middle of its first pause.
    await asyncio.sleep(pause_s / 2)
    await asyncio.gather(one, kept.renew_authority(tell, pause_s=pause_s))
    (last,) = _trusted(tmp_path)
    assert last != first
    issues = next(at_s for at_s, line in told if "next one issues" in line)
    alone = next(at_s for at_s, line in told if "alone is trusted" in line)
    assert alone - issues >= pause_s


def test_the_command_renews_the_authority(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Certificates(tmp_path).make()
    (first,) = _trusted(tmp_path)
    assert certificates.main(["--anew-authority", "--pause", "0", "--folder", str(tmp_path)]) == 0
    (last,) = _trusted(tmp_path)
    assert last != first
    assert _issuers(tmp_path) == {last.subject}
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("pause", ["-1", "nan", "inf", "soon"])
def test_a_pause_that_is_none_is_refused_and_nothing_is_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pause: str
) -> None:
    Certificates(tmp_path).make()
    before = _trusted(tmp_path)
    with pytest.raises(SystemExit):
        certificates.main(["--anew-authority", f"--pause={pause}", "--folder", str(tmp_path)])
    assert f"'{pause}' is no number of seconds" in capsys.readouterr().err
    assert _trusted(tmp_path) == before


async def test_the_launcher_renews_the_authority_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_S", 0.01)
    # What is made now has no third of its life left, and each step is due at once.
    kept, told = Certificates(tmp_path), list[str]()
    kept.make()
    (first,) = _trusted(tmp_path)
    monkeypatch.setattr(authority, "CERTIFICATE_DAYS", 0)
    monkeypatch.setattr(authority, "RENEW_BELOW", 1)
    keeping = asyncio.create_task(kept.keep(told.append))
    async with asyncio.timeout(30):
        while len(told) < 3:
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert [line.partition(": ")[2] for line in told[:3]] == [
        Stage.NEXT_TRUSTED.value, Stage.NEXT_ISSUES.value, Stage.ALONE.value,
    ]  # fmt: skip
    assert first not in _trusted(tmp_path)


def _trusted(folder: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((folder / "ca.pem").read_bytes())


def _issuers(folder: Path) -> set[x509.Name]:
    files = [folder / f"{name}.pem" for name in NAMES]
    return {x509.load_pem_x509_certificate(file.read_bytes()).issuer for file in files}
