"""Records edited in the file itself: `verify` names them, `serve` stops, nobody hangs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import sys
from pathlib import Path

import pytest

from mesh.clock import ManualClock
from mesh.records import open_store
from services.ledger.__main__ import SETS, stored_in
from services.ledger.adapters.journal import marks_key
from services.ledger.app.snapshotting import take
from services.ledger.app.verify import verify
from services.ledger.config import LedgerSettings
from tests.ledger.test_command_line import play
from tests.ledger.test_process import environment

# `||` makes text of what was bytes: the same bytes, and one that is another.
AS_TEXT = "blobs = substr(blobs, 1, 20) || x'ff' || substr(blobs, 22)"
NO_JSON = "bins = CAST(x'ff' AS TEXT)"


async def process(folder: Path, *arguments: str) -> tuple[int, str, str]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ledger", *arguments,
        env=environment(folder, 0), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            out, err = await started.communicate()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    return started.returncode or 0, out.decode(), err.decode()


def edit(folder: Path, set_name: str, change: str, where: str) -> None:
    with sqlite3.connect(LedgerSettings(data_dir=folder).records_path) as db:
        done = db.execute(f"UPDATE {set_name} SET {change} WHERE {where}")
        assert done.rowcount
    db.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [(AS_TEXT, "record 5 was changed"), (NO_JSON, "record '0000000000000005' was changed")],
)
async def test_a_record_of_the_journal(tmp_path: Path, change: str, told: str) -> None:
    await play(tmp_path)
    edit(tmp_path, "journal", change, "key = '0000000000000005'")
    code, out, _ = await process(tmp_path, "verify")
    assert code == 1
    assert f"PROBLEM   {told}" in out
    code, out, err = await process(tmp_path, "serve")
    assert code == 1
    lines = [json.loads(line) for line in (out + err).splitlines() if line.startswith("{")]
    assert any(told in json.dumps(line) for line in lines), out + err
    code, out, err = await process(tmp_path, "export", "whatever")
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize("set_name", ["snapshots", "snapshot_parts"])
async def test_a_record_of_a_snapshot(tmp_path: Path, set_name: str) -> None:
    await play(tmp_path)
    settings, clock = LedgerSettings(data_dir=tmp_path), ManualClock()
    async with open_store(settings, SETS) as store:
        await take(stored_in(store, settings, clock), clock)
    edit(tmp_path, set_name, NO_JSON, "key NOT LIKE 'begun%' AND key <> 'newest'")
    code, out, _ = await process(tmp_path, "verify")
    assert code == 1
    assert "was changed" in out
    assert "PROBLEM" in out


@pytest.mark.parametrize("content", [b"no record at all", b"\x22\x02\xff\xff"])
async def test_a_record_whose_hash_was_made_to_fit(tmp_path: Path, content: bytes) -> None:
    await play(tmp_path)
    settings = LedgerSettings(data_dir=tmp_path)
    async with open_store(settings, SETS) as store:
        record = await store.get("journal", "0000000000000005")
        assert record is not None
        bins = {"data": content, "hash": hashlib.sha256(content).digest()}
        await store.put_if("journal", record.key, bins, record.generation)
        found = await verify(stored_in(store, settings, ManualClock()))
    assert any("record 5 " in problem for problem in found.problems), found.problems


@pytest.mark.parametrize("segments", ["nothing", "[7]", '[[1,2,"xy","xy",3]]'])
async def test_a_mark_of_the_archive(tmp_path: Path, segments: str) -> None:
    await play(tmp_path)
    settings = LedgerSettings(data_dir=tmp_path)
    async with open_store(settings, SETS) as store:
        await store.create("journal", marks_key(1), {"segments": segments})
        found = await verify(stored_in(store, settings, ManualClock()))
    assert any(f"the mark {marks_key(1)} was changed" in problem for problem in found.problems)
