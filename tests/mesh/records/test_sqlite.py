"""What only SQLite promises: durable when acknowledged, shared by processes, closed cleanly."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.config import MeshSettings
from mesh.records import (
    BadRecord,
    Busy,
    Exists,
    InDoubt,
    SetSpec,
    Stale,
    StoreMissing,
    StoreUnavailable,
    open_store,
    scan_all,
)
from mesh.records import lane as lanes
from mesh.records.sqlite import open_sqlite

SETS = (SetSpec("things", indexes={"state": str}),)
# Enough acknowledged writes that several group commits have passed.
ACKNOWLEDGED_MIN = 300

WRITER = """
import asyncio, sys
from pathlib import Path
from mesh.records import SetSpec
from mesh.records.sqlite import open_sqlite

async def main():
    async with open_sqlite(Path(sys.argv[1]), (SetSpec("things", indexes={"state": str}),)) as store:
        async def write(task):
            for number in range(1_000_000):
                key = f"{task:02d}-{number:06d}"
                generation = await store.create("things", key, {"n": number, "state": "new"})
                await store.put_if("things", key, {"n": number, "state": "done"}, generation)
                print(key, flush=True)
        await asyncio.gather(*(write(task) for task in range(16)))

asyncio.run(main())
"""

COUNTER = """
import asyncio, sys
from pathlib import Path
from mesh.records import Busy, SetSpec, Stale, change
from mesh.records.sqlite import open_sqlite

async def main():
    async with open_sqlite(Path(sys.argv[1]), (SetSpec("things", indexes={"state": str}),)) as store:
        done = 0
        while done < int(sys.argv[2]):
            try:
                await change(store, "things", "counter", lambda record: {"n": record.integer("n") + 1})
                done += 1
            except (Busy, Stale):
                pass

asyncio.run(main())
"""


async def started(program: str, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.sqlite"


@pytest.mark.parametrize("turn", range(2))
async def test_acknowledged_writes_survive_kill_9(path: Path, turn: int) -> None:
    process = await started(WRITER, path)
    assert process.stdout is not None
    acknowledged = [await process.stdout.readline() for _ in range(ACKNOWLEDGED_MIN * (turn + 1))]
    process.send_signal(signal.SIGKILL)
    acknowledged += (await process.stdout.read()).splitlines(keepends=True)
    assert await process.wait() == -signal.SIGKILL
    keys = [line.decode().strip() for line in acknowledged if line.endswith(b"\n")]
    async with open_sqlite(path, SETS) as store:
        found = {record.key: record async for record in scan_all(store, "things")}
        for key in keys:
            assert found[key].bins == {"n": int(key.partition("-")[2]), "state": "done"}
        with pytest.raises(Exists):
            await store.create("things", keys[0], {"n": -1})


async def test_two_processes_share_one_file(path: Path) -> None:
    async with open_sqlite(path, SETS) as store:
        await store.create("things", "counter", {"n": 0})
        processes = [await started(COUNTER, path, 150) for _ in range(2)]
        for process in processes:
            assert await process.wait() == 0
            await process.communicate()
        record = await store.get("things", "counter")
        assert record is not None
        assert record.integer("n") == 300


async def test_a_file_locked_by_another_is_busy_and_nothing_is_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.records.sqlite.BUSY_TIMEOUT_S", 0.05)
    async with open_sqlite(path, SETS) as store:
        generation = await store.create("things", "key", {"n": 1})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            await store.put_if("things", "key", {"n": 2}, generation)
        with pytest.raises(Busy):
            await store.create("things", "other", {"n": 2})
        record = await store.get("things", "key")
        assert record is not None
        assert record.bins == {"n": 1}
        other.execute("ROLLBACK")
        other.close()
        assert await store.get("things", "other") is None
        await store.put_if("things", "key", {"n": 2}, generation)


async def test_a_failure_does_not_sink_its_group(path: Path) -> None:
    async with open_sqlite(path, SETS) as store:
        await store.create("things", "50", {"n": -1})
        results = await asyncio.gather(
            *(store.create("things", f"{number}", {"n": number}) for number in range(100)),
            *(store.put_if("things", "50", {"n": 0}, 9) for _ in range(3)),
            return_exceptions=True,
        )
        failed = [type(result) for result in results if isinstance(result, BaseException)]
        assert sorted(kind.__name__ for kind in failed) == ["Exists", "Stale", "Stale", "Stale"]
        assert len(await store.scan("things")) == 100
        assert failed.count(Stale) == 3


async def test_what_waits_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "QUEUE_MAX", 10)
    async with open_sqlite(path, SETS) as store:
        results = await asyncio.gather(
            *(store.create("things", f"{number:02d}", {"n": number}) for number in range(30)),
            return_exceptions=True,
        )
        refused = [number for number, result in enumerate(results) if isinstance(result, Busy)]
        assert refused == list(range(10, 30))
        assert len(await store.scan("things")) == 10


async def test_closing_finishes_what_was_asked_and_refuses_more(path: Path) -> None:
    async with open_sqlite(path, SETS) as store:
        writes = [asyncio.create_task(store.create("things", f"{number}", {"n": 1})) for number in range(500)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*writes) == [1] * 500
    with pytest.raises(StoreUnavailable):
        await store.get("things", "0")
    with pytest.raises(StoreUnavailable):
        await store.create("things", "new", {"n": 1})
    assert not list(path.parent.glob("*-wal"))
    async with open_sqlite(path, SETS) as again:
        assert len(await again.scan("things")) == 500


async def test_a_cancelled_write_harms_no_other(path: Path) -> None:
    async with open_sqlite(path, SETS) as store:
        tasks = [asyncio.create_task(store.create("things", f"{number}", {"n": 1})) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[1::2] == [1] * 10


async def test_an_index_declared_later_covers_what_was_there(path: Path) -> None:
    async with open_sqlite(path, [SetSpec("things")]) as store:
        await store.create("things", "key", {"state": "open", "body": b"x"})
    async with open_sqlite(path, SETS) as store:
        assert [record.key for record in await store.query_eq("things", "state", "open")] == ["key"]
    with sqlite3.connect(path) as reader:
        plan = reader.execute(
            "EXPLAIN QUERY PLAN SELECT key FROM things "
            "WHERE json_extract(bins, '$.state') = 'open' AND key > 'a' ORDER BY key LIMIT 5"
        ).fetchall()
    reader.close()
    assert "USING INDEX things.state" in plan[0][3] or "USING COVERING INDEX things.state" in plan[0][3]
    assert len(plan) == 1


@pytest.fixture
def text_file(path: Path) -> Path:
    path.write_bytes(b"this is no database, it is a text of some length" * 100)
    return path


async def test_a_file_that_is_no_database_is_unavailable(text_file: Path) -> None:
    with pytest.raises(StoreUnavailable):
        async with open_sqlite(text_file, SETS):
            pass


async def test_settings_choose_the_file(tmp_path: Path) -> None:
    settings = MeshSettings(data_dir=tmp_path, aerospike_hosts="")
    async with open_store(settings, SETS) as store:
        await store.create("things", "key", {"n": 1})
    assert settings.records_path.exists()


EDITS = {
    "bytes that are no text": "bins = CAST(x'ff00' AS TEXT)",
    "no text": "bins = x'ff'",
    "no JSON": "bins = 'nothing'",
    "no object": "bins = '7'",
    "places of bytes that are none": 'bins = \'{"data":["a","b"]}\'',
    "a blob that is a number": "blobs = 7",
    "a generation that is none": "generation = 'x'",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
async def test_an_edited_record_is_told_and_harms_no_other(path: Path, edit: str) -> None:
    sets = [SetSpec("plain")]
    async with open_sqlite(path, sets) as store:
        for key in ("a", "b"):
            await store.create("plain", key, {"data": b"\x01" * 30})
        with sqlite3.connect(path) as db:
            db.execute(f"UPDATE plain SET {edit} WHERE key = 'a'")
        db.close()
        for _ in range(3):  # more than there are threads
            with pytest.raises(BadRecord, match="record 'a' was changed"):
                await store.get("plain", "a")
        with pytest.raises(BadRecord, match="record 'a' was changed"):
            await store.scan("plain")
        found = await store.get("plain", "b")
        assert found is not None
        assert found.blob("data") == b"\x01" * 30


async def test_bytes_that_became_text_are_read_as_bytes(path: Path) -> None:
    async with open_sqlite(path, [SetSpec("plain")]) as store:
        await store.create("plain", "a", {"data": b"\x01" * 30})
        with sqlite3.connect(path) as db:
            db.execute("UPDATE plain SET blobs = substr(blobs, 1, 20) || x'ff' || substr(blobs, 22)")
        db.close()
        found = await store.get("plain", "a")
        assert found is not None
        assert found.blob("data") == b"\x01" * 20 + b"\xff" + b"\x01" * 9


@pytest.mark.parametrize("commit", [False, True])
async def test_whatever_is_raised_answers_who_asked_and_the_thread_lives(path: Path, commit: bool) -> None:
    def raising(problem: BaseException) -> Callable[[sqlite3.Connection], object]:
        def work(_: sqlite3.Connection) -> object:
            raise problem

        return work

    lane = lanes.Lane("test", lambda: sqlite3.connect(path, isolation_level=None), threads=1, commit=commit)
    await lane.start()
    try:
        problems = [sqlite3.OperationalError("of Python's own"), StopIteration(), KeyError("k"), SystemExit()]
        for problem in problems:
            with pytest.raises((StoreUnavailable, InDoubt, KeyError)):
                await asyncio.wait_for(lane.run(raising(problem)), 30)
        with pytest.raises(InDoubt if commit else StoreUnavailable, match="SystemExit"):
            await asyncio.wait_for(lane.run(raising(SystemExit("now"))), 30)
        assert await asyncio.wait_for(lane.run(lambda db: db.execute("SELECT 1").fetchone()), 30) == (1,)
    finally:
        await lane.close()


async def test_what_hinders_opening_is_told() -> None:
    def connect() -> sqlite3.Connection:
        raise OSError("no more files")

    lane = lanes.Lane("test", connect, threads=1, commit=False)
    with pytest.raises(StoreUnavailable, match="no more files"):
        await asyncio.wait_for(lane.start(), 30)
    await lane.close()


async def test_a_file_opened_to_be_read_is_made_and_changed_by_nobody(path: Path) -> None:
    with pytest.raises(StoreMissing, match=str(path)):
        async with open_sqlite(path, SETS, read_only=True):
            pass
    assert not await asyncio.to_thread(path.exists)
    more = [*SETS, SetSpec("others")]
    async with open_sqlite(path, SETS) as writer:
        await writer.create("things", "a", {"state": "new"})
        async with open_sqlite(path, more, read_only=True) as reader:
            assert await reader.get("others", "a") is None
            await writer.create("things", "b", {"state": "new"})
            assert [record.key for record in await reader.scan("things")] == ["a", "b"]
            with pytest.raises(StoreUnavailable, match="readonly"):
                await reader.create("things", "c", {"state": "new"})
            with pytest.raises(StoreUnavailable, match="readonly"):
                await reader.delete("things", "a")
        assert len(await writer.scan("things")) == 2
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("things",)]
    db.close()
