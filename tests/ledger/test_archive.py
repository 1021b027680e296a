"""The archive: old records move there whole, checked, and only then leave the store."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import obstore
import pytest

from mesh.records import Record
from services.ledger.adapters.archive import open_objects
from services.ledger.adapters.journal import BLOCK, SET, record_key
from services.ledger.adapters.searching import first_missing
from services.ledger.adapters.snapshots import PARTS
from services.ledger.app.archive import WholeJournal
from services.ledger.app.journal import Archived, Entry, Head, JournalBroken
from services.ledger.app.replica import Replica
from services.ledger.app.snapshotting import take
from services.ledger.app.verify import verify
from tests.ledger.site import Site, full_life, state


async def archived(rounds: int = 7) -> tuple[Site, dict[str, Record]]:
    """A site whose first records are in the archive, and those records as they were."""
    site = Site()
    full_life(site, rounds)
    before = await site.write()
    assert before.sequence > BLOCK
    records = {
        record_key(number): record
        for number in range(1, before.sequence + 1)
        if (record := await site.store.get(SET, record_key(number))) is not None
    }
    for number in range(2):
        site.pay(f"n{number}", "v", "w")
        await site.snapshot()
    assert (await site.stored.archive.end()) == before.sequence // BLOCK * BLOCK
    return site, records


async def entries(site: Site, behind: Head) -> list[Entry]:
    whole = WholeJournal(site.stored.journal, site.stored.archive)
    return [entry async for entry in whole.read(behind)]


async def test_old_records_move_to_the_archive() -> None:
    site, records = await archived()
    end = await site.stored.archive.end()
    kept = [one.key for one in await site.store.scan(SET, prefix="0")]
    assert kept[0] == record_key(end + 1)
    read = await entries(site, Head())
    assert [entry.head.sequence for entry in read] == list(range(1, site.head.sequence + 1))
    assert read[-1].head == site.head
    assert {record_key(entry.head.sequence): entry.head.hash for entry in read[:end]} == {
        key: record.blob("hash") for key, record in records.items() if key <= record_key(end)
    }
    for behind in (read[4].head, read[BLOCK - 1].head, read[BLOCK].head, read[-1].head):
        assert await entries(site, behind) == read[behind.sequence :]
    found = await verify(site.stored)
    assert found.problems == ()
    assert found.snapshots == 2
    assert found.state == state(site.machine).hex()
    assert (await site.recovered())[1] == site.head


async def test_what_was_dropped_is_no_end() -> None:
    site, _ = await archived()
    for behind in (Head(), (await entries(site, Head()))[BLOCK // 2].head):
        with pytest.raises(Archived):
            await anext(site.stored.journal.read(behind))
    assert [entry async for entry in site.stored.journal.read(site.head)] == []
    assert await site.stored.journal.end(site.head.sequence - 1) == site.head.sequence


async def test_who_stood_still_for_long_begins_with_a_snapshot() -> None:
    site = Site()
    full_life(site, 1)
    early = await site.write()
    replica = Replica(site.stored.journal, site.clock, site.stored.recovery.load)
    await replica.catch_up()
    assert replica.head == early
    for number in range(2 * BLOCK):
        site.pay(f"n{number}", "v", "w")
    for number in range(2):
        site.pay(f"m{number}", "v", "w")
        await site.snapshot()
    assert await site.stored.archive.end() > early.sequence
    await replica.catch_up()
    assert (replica.head, state(replica.machine)) == (site.head, state(site.machine))


async def test_without_a_good_snapshot_the_archive_is_replayed() -> None:
    site, _ = await archived()
    for part in await site.store.scan(PARTS):
        await site.store.delete(PARTS, part.key)
    machine, head = await site.recovered()
    assert (head, state(machine)) == (site.head, state(site.machine))


async def test_records_that_come_back_are_harmless() -> None:
    site, records = await archived()
    for number in (1, 2, 17, BLOCK, BLOCK - 1):
        await site.store.create(SET, record_key(number), records[record_key(number)].bins)
    with pytest.raises(Archived):
        assert [entry async for entry in site.stored.journal.read(Head())]
    assert (await verify(site.stored)).problems == ()
    site.pay("more", "v", "w")
    await site.snapshot()
    assert (await verify(site.stored)).problems == ()


@pytest.mark.parametrize("harm", ["bytes", "content", "gone", "another"])
async def test_an_edited_archive_is_found(harm: str) -> None:
    site, _ = await archived()
    name = f"journal/{1:016d}-{BLOCK:016d}"
    file = bytes((await obstore.get_async(site.objects, name)).bytes())
    match harm:
        case "bytes":
            await obstore.put_async(site.objects, name, file[:-9] + b"x" + file[-8:])
        case "content":
            from services.ledger.adapters.segments import packed, unpacked

            content = unpacked(name, file).replace(b"user:v", b"user:w", 1)
            await obstore.put_async(site.objects, name, packed(content))
        case "gone":
            await obstore.delete_async(site.objects, name)
        case "another":
            await obstore.put_async(site.objects, name, b"")
    (problem,) = (await verify(site.stored)).problems[:1]
    assert name in problem
    assert "checked up to record 0" in problem
    # The service does not need the archive as long as a snapshot is good.
    assert (await site.recovered())[1] == site.head


async def test_a_gap_behind_the_archive_is_found() -> None:
    site, _ = await archived()
    first = await site.stored.archive.end() + 1
    await site.store.delete(SET, record_key(first))
    (problem,) = (await verify(site.stored)).problems[:1]
    assert f"record {first} is missing" in problem
    with pytest.raises(JournalBroken):
        await site.stored.archive.move(first + 2 * BLOCK)


async def test_two_at_the_same_time() -> None:
    site = Site()
    full_life(site, 7)
    await site.write()
    for number in range(3):
        site.pay(f"n{number}", "v", "w")
        await site.write()
        await asyncio.gather(*(take(site.stored, site.clock) for _ in range(3)))
    assert [one.head.sequence for one in await site.stored.snapshots.all()] == [
        site.head.sequence, site.head.sequence - 1,
    ]  # fmt: skip
    assert await site.stored.archive.end() >= BLOCK
    assert (await verify(site.stored)).problems == ()


@pytest.mark.parametrize("start", [0, 1, 1000])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 8, 100, 1023])
async def test_the_first_missing_number_is_found(start: int, count: int) -> None:
    looks = 0

    async def is_there(number: int) -> bool:
        nonlocal looks
        looks += 1
        return number < start + count

    assert await first_missing(start, is_there) == start + count
    assert looks <= 22


def test_the_setting_names_the_object_store(tmp_path: Path) -> None:
    assert "s3" in repr(open_objects("s3://bucket/ledger", tmp_path)).lower()
    assert "local" in repr(open_objects("", tmp_path)).lower()


async def test_files_in_a_folder_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    site = Site(objects=open_objects("", tmp_path / "archive"))
    for number in range(BLOCK + 5):
        site.pay(f"n{number}", "v", "w")
    for _ in range(2):
        site.wait(1)
        await site.snapshot()
    name = f"{1:016d}-{BLOCK:016d}"
    assert synced == [name, "journal", "archive"]
    assert (tmp_path / "archive" / "journal" / name).stat().st_size
    assert (await verify(site.stored)).problems == ()
