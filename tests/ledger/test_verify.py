"""`verify` finds what is wrong in the history and in snapshots, not only in the journal."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

import pytest

from services.ledger.adapters.snapshots import PARTS
from services.ledger.app import verify as verification
from services.ledger.app.snapshots import save
from services.ledger.app.verify import Finding, verify
from services.ledger.domain.pages import PAGE
from tests.ledger.site import Site, full_life, state


async def lived() -> Site:
    site = Site()
    full_life(site, rounds=12)
    await site.snapshot()
    return site


async def replaced(site: Site, key: str, edit: Callable[[bytes], bytes]) -> None:
    """Another content with the right hash."""
    record = await site.store.get("history", key)
    assert record is not None
    content = edit(zlib.decompress(record.blob("data")))
    bins = {"data": zlib.compress(content), "hash": hashlib.sha256(content).digest()}
    await site.store.put_if("history", key, bins, record.generation)


def told(found: Finding) -> str:
    assert len(found.problems) == 1
    return found.problems[0]


async def test_all_is_well_with_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    site = await lived()
    monkeypatch.setattr(verification, "PAGES_WAITING_MAX", 1)
    progress: list[tuple[int, int]] = []
    found = await verify(site.stored, lambda done, of: progress.append((done, of)))
    assert found.problems == ()
    assert progress[-1] == (site.head.sequence, site.head.sequence)
    assert found.pages == site.machine.books.postings_made // PAGE + 1
    assert (found.rounds, found.snapshots) == (len(site.machine.rounds.leaving), 1)
    assert found.state == state(site.machine).hex()


@pytest.mark.parametrize("key", ["postings/000000000001", "sessions/000000000000"])
async def test_a_page_with_other_lines(key: str) -> None:
    site = await lived()
    await replaced(site, key, lambda content: content.replace(b"m-a", b"m-b", 1))
    assert told(await verify(site.stored)) == f"{key} in the history is not what the journal makes"


async def test_a_changed_round_and_a_lost_page() -> None:
    site = await lived()
    gone = site.machine.rounds.leaving[2].id
    await replaced(site, f"round/{gone}", lambda content: content.replace(b'"paid":', b'"paid": '))
    assert told(await verify(site.stored)).startswith(f"round/{gone}")
    site = await lived()
    await site.store.delete("history", "postings/000000000000")
    assert told(await verify(site.stored)) == "postings/000000000000 is missing in the history"


async def test_a_snapshot_of_another_state() -> None:
    site = await lived()
    other = Site()
    full_life(other, rounds=12)
    other.machine.books.balance[3] += 1
    await site.stored.snapshots.drop(10**9)
    taken = await site.snapshot()
    assert taken.snapshot is not None
    await site.stored.snapshots.drop(10**9)
    other.machine.trim(taken.written)
    await save(site.stored.snapshots, other.machine, site.head, taken.written, 0)
    found = told(await verify(site.stored))
    assert found == f"the snapshot of record {site.head.sequence} is not the state that the journal makes"


async def test_a_snapshot_that_is_broken_or_ahead() -> None:
    site = await lived()
    part = (await site.store.scan(PARTS))[0].key
    await site.store.delete(PARTS, part)
    assert "is broken: part 0 is missing" in told(await verify(site.stored))
    site = await lived()
    await site.store.delete("journal", f"{site.head.sequence:016d}")
    assert "stands behind the end of the journal" in told(await verify(site.stored))
