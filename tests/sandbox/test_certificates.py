"""The launcher's care for certificates."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox import certificates
from sandbox.certificates import Certificates


async def test_what_cannot_be_renewed_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_S", 0.01)
    kept, told = Certificates(tmp_path / "tls"), list[str]()
    (tmp_path / "tls").rename(tmp_path / "away")
    keeping = asyncio.create_task(kept.keep(told.append))
    async with asyncio.timeout(10):
        while len(told) < 2:
            await asyncio.sleep(0.01)
        assert "cannot be renewed" in told[0]
        (tmp_path / "away").rename(tmp_path / "tls")
        while not (tmp_path / "tls" / "ledger.pem").is_file():
            await asyncio.sleep(0.01)
    keeping.cancel()
