"""The history: statements and rounds read the same whether they are in memory or have left it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import pytest

from mesh.pages import PageTokenInvalid, page_token
from mesh.records.port import RECORD_BYTES_MAX
from services.ledger.adapters.history import SET
from services.ledger.app import statements
from services.ledger.app.history import History, HistoryBroken, Kind, MemoryHistory, page_name
from services.ledger.app.journal import Head
from services.ledger.app.recording import write_history
from services.ledger.app.records import find_record, find_round
from services.ledger.domain import image
from services.ledger.domain.machine import Machine
from services.ledger.domain.pages import PAGE, Written, whole_pages
from services.ledger.domain.public_record import record_of, view_of
from services.ledger.domain.reasons import Reason, Refused
from tests.ledger.site import Site, full_life, state
from tests.ledger.world import uid

Seen = TypeVar("Seen")


class Reader:
    """A machine that can be asked, and its history; `then` happens once, behind the next answer."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.store = MemoryHistory()
        self.history = History(self.store, pages_kept=2)
        self.written = Written()
        self.then: Callable[[], object] = lambda: None

    async def ask(self, question: Callable[[Machine, Head], Seen]) -> Seen:
        answer = question(self.machine, Head())
        self.then()
        self.then = lambda: None
        return answer

    async def postings(self, name: str, size: int) -> list[object]:
        return await self._all(statements.postings, name, size)

    async def sessions(self, viewer: str, size: int) -> list[object]:
        return await self._all(statements.sessions, viewer, size)

    async def _all(self, pages: Callable[..., object], name: str, size: int) -> list[object]:
        items: list[object] = []
        token = ""
        while True:
            page = await pages(self.ask, self.history, name, size, token)  # type: ignore[misc]
            assert len(page.items) <= size
            items += page.items
            token = page.next_token
            if not token:
                return items

    async def leave(self) -> None:
        self.written = await write_history(self.machine, self.store, self.written)


@pytest.fixture(scope="module")
def lived() -> dict[str, bytes]:
    site = Site()
    full_life(site, rounds=12)
    return image.dump(site.machine)


@pytest.fixture
def whole(lived: dict[str, bytes]) -> Reader:
    return Reader(image.load(lived))


@pytest.fixture
async def left(lived: dict[str, bytes]) -> Reader:
    reader = Reader(image.load(lived))
    await reader.leave()
    return reader


async def test_what_can_leave_leaves(whole: Reader, left: Reader) -> None:
    made = left.machine.books.postings_made
    assert made > 3 * PAGE
    assert left.written.postings == made // PAGE * PAGE
    assert len(left.machine.books.postings) == made % PAGE
    assert left.written.sessions == PAGE
    assert left.machine.meter.first_kept == PAGE + 1
    assert left.machine.rounds.leaving == []
    assert left.written.last_round == whole.machine.rounds.leaving[-1].id
    assert state(left.machine) == state(whole.machine)
    before = dict(left.store.records)
    await left.leave()
    assert left.store.records == before


@pytest.mark.parametrize("size", [7, 50, 1_000])
async def test_statements_go_on_into_the_history(whole: Reader, left: Reader, size: int) -> None:
    for user in ("v", "w", "x", "y", "a"):
        assert await left.postings(f"user:{user}", size) == await whole.postings(f"user:{user}", size)
        assert await left.sessions(user, size) == await whole.sessions(user, size)
    assert len(await left.postings("user:v", size)) > PAGE
    assert await left.postings("platform:fee", size) == await whole.postings("platform:fee", size)


async def test_a_trim_behind_an_answer_is_harmless(whole: Reader, left: Reader) -> None:
    expected = await whole.postings("user:v", 1_000)
    reader = Reader(whole.machine)
    reader.store.records = left.store.records
    page = await statements.postings(reader.ask, reader.history, "user:v", 10, "")
    items = list(page.items)
    reader.then = lambda: reader.machine.trim(left.written)
    while page.next_token:
        page = await statements.postings(reader.ask, reader.history, "user:v", 700, page.next_token)
        items += page.items
    assert items == expected


async def test_trimming_goes_by_steps_and_only_as_far_as_there_is(whole: Reader, left: Reader) -> None:
    machine = whole.machine
    before, steps = state(machine), 1
    while machine.trim(left.written, most=300):
        steps += 1
    assert steps == -(-left.written.postings // 300)
    assert (machine.books.first_kept, machine.meter.first_kept) == (left.written.postings + 1, PAGE + 1)
    machine.trim(Written(10**9, 10**9, "unknown"))
    assert machine.books.postings == []
    assert machine.books.first_kept == machine.books.postings_made + 1
    assert state(machine) == before


async def test_rounds_are_found_wherever_they_are(whole: Reader, left: Reader) -> None:
    gone = whole.machine.rounds.leaving
    assert len(gone) > 5
    for one in [*gone, *whole.machine.rounds.by_id.values()]:
        record = await find_record(left.ask, left.history, one.id)
        assert record == record_of(one)
        assert await find_round(left.ask, left.history, one.id) == await find_round(
            whole.ask, whole.history, one.id
        )
    assert view_of(record_of(gone[0])) == await find_round(left.ask, left.history, gone[0].id)
    with pytest.raises(Refused) as refusal:
        await find_round(left.ask, left.history, uid("none"))
    assert refusal.value.number is Reason.ROUND_NOT_FOUND


@pytest.mark.parametrize("number", ["5", "0", "-1", "x", "999999999", "2000"])
async def test_a_token_of_another_list_is_refused(left: Reader, number: str) -> None:
    # Posting 5 is a deposit or an issue, posting 2,000 one between v and w: neither is y's.
    for name in ("user:y", "platform:fee"):
        token = page_token(f"postings {name}", number)
        with pytest.raises(PageTokenInvalid):
            await statements.postings(left.ask, left.history, name, 5, token)
    with pytest.raises(PageTokenInvalid):
        await statements.sessions(left.ask, left.history, "x", 5, page_token("sessions x", number))


async def test_a_walk_reads_a_bounded_number_of_pages(left: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "PAGES_READ_MAX", 1)
    page = await statements.postings(left.ask, left.history, "user:v", 100_000, "")
    assert page.next_token
    assert len(page.items) < len(await left.postings("user:v", 100_000))


async def test_what_is_missing_or_changed_is_told(left: Reader) -> None:
    name = (Kind.POSTINGS, page_name(0))
    there = left.store.records.pop(name)
    with pytest.raises(HistoryBroken):
        await left.postings("user:v", 1_000)
    left.store.records[name] = there
    assert await left.postings("user:v", 1_000)
    with pytest.raises(HistoryBroken):
        await left.store.put(*name, b"other")


async def test_the_store_keeps_it_and_finds_changes() -> None:
    site = Site()
    full_life(site, rounds=5)
    await site.snapshot()
    history = site.stored.history
    content = await history.get(Kind.POSTINGS, page_name(0))
    assert content is not None
    await history.put(Kind.POSTINGS, page_name(0), content)
    with pytest.raises(HistoryBroken):
        await history.put(Kind.POSTINGS, page_name(0), b"other")
    key = f"postings/{page_name(0)}"
    record = await site.store.get("history", key)
    assert record is not None
    for bins in ({"data": b"x"}, {"hash": b"x"}):
        generation = (await site.store.get("history", key) or record).generation
        await site.store.put_if("history", key, {**record.bins, **bins}, generation)
        with pytest.raises(HistoryBroken):
            await history.get(Kind.POSTINGS, page_name(0))


def test_whole_pages() -> None:
    assert list(whole_pages(1, PAGE - 1)) == []
    assert list(whole_pages(1, PAGE)) == [0]
    assert list(whole_pages(2, 2 * PAGE + 5)) == [1]
    assert list(whole_pages(PAGE + 1, 3 * PAGE)) == [1, 2]
    assert list(whole_pages(1, 0)) == []


async def test_a_record_longer_than_one_of_the_store_has_parts() -> None:
    site = Site()
    history, content = site.stored.history, random.Random(1).randbytes(3 * RECORD_BYTES_MAX)
    for _ in range(2):
        await history.put(Kind.ROUND, "r", content)
        assert await history.get(Kind.ROUND, "r") == content
    with pytest.raises(HistoryBroken, match="other content"):
        await history.put(Kind.ROUND, "r", content[:-1])
    assert await history.get(Kind.ROUND, "r") == content
    await site.store.delete(SET, "round/r/000002")
    with pytest.raises(HistoryBroken, match="missing"):
        await history.get(Kind.ROUND, "r")


async def test_a_rounds_record_that_is_none_is_a_broken_history() -> None:
    store = MemoryHistory()
    await store.put(Kind.ROUND, "r", b"{}")
    with pytest.raises(HistoryBroken, match="round/r: format: missing"):
        await History(store).round("r")
