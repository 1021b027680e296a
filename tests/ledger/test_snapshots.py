"""Snapshots: what they hold, how recovery uses them, and what becomes of broken ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from mesh.records.memory import MemoryStore
from services.ledger.adapters.snapshots import HEADS, PARTS
from services.ledger.app.journal import Entry, Head
from services.ledger.app.packing import PART_BYTES, pack, unpack
from services.ledger.app.snapshotting import take
from services.ledger.domain import image
from services.ledger.domain.image import BadImage
from services.ledger.domain.machine import Machine
from services.ledger.domain.sessions import StopReason
from tests.ledger.site import Site, full_life, state


@pytest.fixture(scope="module")
def lived() -> Site:
    site = Site()
    full_life(site)
    return site


async def fresh() -> Site:
    site = Site()
    full_life(site)
    return site


def test_an_image_holds_everything(lived: Site) -> None:
    machine = lived.machine
    assert machine.books.debt
    assert machine.holds.expiries or any(hold.state == 0 for hold in machine.holds.by_id.values())
    assert machine.rounds.leaving
    assert machine.meter.leaving
    assert machine.meter.running
    assert machine.deposits.reversals
    assert any(session.stop is StopReason.ROUND_VOIDED for session in machine.meter.leaving)
    again = image.load(unpack(bytearray(b"".join(pack(image.dump(machine))))))
    assert state(again) == state(machine)
    assert image.dump(again) == image.dump(machine)


async def test_recovery_goes_on_from_a_snapshot() -> None:
    site = await fresh()
    taken = await site.snapshot()
    assert taken.snapshot is not None
    assert (taken.loaded, taken.head) == (Head(), site.head)
    machine, head = await site.stored.recovery.load()
    assert (head, state(machine)) == (site.head, state(site.machine))
    assert len(machine.books.postings) < len(site.machine.books.postings)
    site.pay("more", "v", "w", count=3)
    await site.write()
    machine, head = await site.recovered()
    assert (head, state(machine)) == (site.head, state(site.machine))


async def test_nothing_new_makes_no_snapshot() -> None:
    site = await fresh()
    await site.snapshot()
    taken = await site.snapshot()
    assert taken.snapshot is None
    assert taken.loaded == taken.head == site.head


class BusyJournal:
    """Whenever a record is read, another is written."""

    def __init__(self, site: Site) -> None:
        self.written = 0
        self._site = site
        self._journal = site.stored.journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def read(self, behind: Head) -> AsyncIterator[Entry]:
        async for entry in self._journal.read(behind):
            yield entry
            if self.written < 1_000:
                self.written += 1
                self._site.pay(f"busy{self.written}", "v", "w")
                await self._site.write()


async def test_a_run_ends_beside_a_busy_writer() -> None:
    site = Site()
    site.fund("v", 50_000)
    site.pay("first", "v", "w")
    began = await site.write()
    busy = BusyJournal(site)
    stored = replace(site.stored, journal=busy)
    first = await take(stored, site.clock)
    assert first.head == began
    ended = site.head.sequence
    assert ended == began.sequence + busy.written > began.sequence
    second = await take(stored, site.clock)
    assert (second.loaded, second.head.sequence) == (began, ended)
    machine, head = await site.recovered()
    assert (head, state(machine)) == (site.head, state(site.machine))


async def test_two_are_kept() -> None:
    site = await fresh()
    for number in range(4):
        site.pay(f"n{number}", "v", "w")
        await site.snapshot()
    kept = await site.stored.snapshots.all()
    assert [one.head.sequence for one in kept] == [site.head.sequence, site.head.sequence - 1]
    assert len(await site.store.scan(PARTS)) == sum(one.parts for one in kept)
    assert (await site.stored.snapshots.newest()) == kept[0]


async def broken(site: Site, set_name: str, key: str, **bins: bytes | int | None) -> None:
    record = await site.store.get(set_name, key)
    assert record is not None
    await site.store.put_if(set_name, key, {**record.bins, **bins}, record.generation)


@pytest.mark.parametrize("harm", ["part", "lost part", "whole", "head", "image", "journal"])
async def test_a_broken_snapshot_is_passed_over(harm: str) -> None:
    site = await fresh()
    await site.snapshot()
    older = site.head
    site.pay("more", "v", "w", count=3)
    await site.snapshot()
    part = (await site.store.scan(PARTS, descending=True))[0].key
    head = f"done/{site.head.sequence:016d}"
    match harm:
        case "part":
            await broken(site, PARTS, part, data=b"x")
        case "lost part":
            await site.store.delete(PARTS, part)
        case "whole":
            await broken(site, PARTS, part, hash=b"x" * 32)
        case "head":
            await broken(site, HEADS, head, postings=10**6)
        case "image":
            await broken(site, HEADS, head, image_version=9)
        case "journal":
            await site.store.delete("journal", f"{site.head.sequence:016d}")
    machine, at = await site.stored.recovery.load()
    assert at == older
    if harm == "journal":
        return
    machine, at = await site.recovered()
    assert (at, state(machine)) == (site.head, state(site.machine))
    site.pay("again", "v", "w", count=3)
    taken = await site.snapshot()
    assert (taken.loaded, taken.head) == (older, site.head)
    assert state((await site.recovered())[0]) == state(site.machine)


async def test_without_a_good_snapshot_everything_is_replayed() -> None:
    site = await fresh()
    await site.snapshot()
    for record in await site.store.scan(PARTS):
        await site.store.delete(PARTS, record.key)
    assert (await site.stored.recovery.load())[1] == Head()
    machine, head = await site.recovered()
    assert (head, state(machine)) == (site.head, state(site.machine))


async def test_what_was_never_finished_is_dropped() -> None:
    site = await fresh()
    await site.snapshot()
    store = site.store
    assert isinstance(store, MemoryStore)
    await store.delete(HEADS, f"done/{site.head.sequence:016d}")  # as if it had been killed before the head
    for number in range(2):
        site.pay(f"n{number}", "v", "w")
        await site.snapshot()
    kept = await site.stored.snapshots.all()
    assert len(await store.scan(HEADS, prefix="begun/")) == len(kept) == 2
    assert len(await store.scan(PARTS)) == sum(one.parts for one in kept)


def test_parts_are_of_bounded_size() -> None:
    sections = {"a": b"x" * (2 * PART_BYTES + 5), "b": b"", "c": b"y" * PART_BYTES}
    parts = pack(sections)
    assert max(map(len, parts)) == PART_BYTES
    assert unpack(bytearray(b"".join(parts))) == sections
    for bad in (b"", b"[]\nx", b"{}", b'[["a",9]]\nx'):
        with pytest.raises(BadImage):
            unpack(bytearray(bad))


def test_a_fresh_ledger_has_an_image() -> None:
    assert state(image.load(image.dump(Machine()))) == state(Machine())
