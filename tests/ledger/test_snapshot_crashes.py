"""A snapshot run that dies at each thing it asks of the store, and is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from mesh.records import InDoubt
from mesh.records.memory import MemoryStore
from services.ledger.__main__ import SETS
from services.ledger.adapters import archive, journal, marks
from services.ledger.app import packing, recording
from services.ledger.app.snapshotting import take
from services.ledger.app.verify import verify
from services.ledger.domain import commands as c
from services.ledger.domain import pages
from tests.ledger.site import Site, state, stored_in
from tests.ledger.world import uid

SMALL = 20


class Dead(BaseException):
    """The process was killed."""


class MortalStore(MemoryStore):
    """A store that is asked `left` more times; then whoever asks dies, before or after it was done."""

    def __init__(self) -> None:
        super().__init__(SETS)
        self.left: int | None = None
        self.done_first = False
        self.doubts = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in {"get", "get_many", "create", "put_if", "scan", "delete"}:
            return lambda *asked, **more: self._mortal(name, lambda: found(*asked, **more))
        return found

    async def _mortal(self, name: str, act: Callable[[], Awaitable[Any]]) -> Any:
        if name == "create" and self.doubts:
            self.doubts -= 1
            if self.doubts % 2:
                await act()
            raise InDoubt
        if self.left is None:
            return await act()
        if self.left == 0:
            if self.done_first:
                await act()
            raise Dead
        self.left -= 1
        return await act()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, blocks and parts of which a short life has several."""
    for module in (archive, journal, marks):
        monkeypatch.setattr(module, "BLOCK", SMALL)
    for module in (pages, recording):
        monkeypatch.setattr(module, "PAGE", SMALL)
    monkeypatch.setattr(packing, "PART_BYTES", 4_000)
    monkeypatch.setattr(archive, "DELETES_AT_ONCE", 1)


async def short_life() -> tuple[Site, MortalStore]:
    """Two snapshots, and enough since to archive some blocks with the next."""
    store = MortalStore()
    site = Site(store=store)
    for user in ("v", "w"):
        site.fund(user, 10_000)
    for number in range(5):
        site.open_round("a", name=f"r{number}")
        for viewing in range(7):
            site.open_session(f"r{number}:{viewing}", "v", "m-a", 50)
            site.report((f"r{number}:{viewing}", 4), after_s=4)
            site.do(_close(f"r{number}:{viewing}"))
        site.lock(f"r{number}")
        site.distribute(["m-a"], f"r{number}")
        site.pay(f"p{number}", "v", "w", count=9)
        if number in (1, 3):
            await site.snapshot()
    await site.write()
    return site, store


def _close(name: str) -> Any:
    return c.CloseSession(uid(name), "v")


async def requests_of_a_run() -> int:
    site, store = await short_life()
    store.left = 10**9
    await take(site.stored, site.clock)
    return 10**9 - store.left


async def test_a_run_may_die_anywhere() -> None:
    requests = await requests_of_a_run()
    assert requests > 100
    for place in range(requests):
        site, store = await short_life()
        store.left, store.done_first = place, place % 2 == 0
        with pytest.raises(Dead):
            await take(site.stored, site.clock)
        store.left = None
        await check(site)
        # Another process begins anew; at times it dies as well.
        again = stored_in(store, site.objects, site.clock)
        store.left = place // 2
        with suppress(Dead):
            await take(again, site.clock)
        store.left = None
        await take(again, site.clock)
        await check(site)
        assert len(await again.snapshots.all()) == 2
        assert await again.archive.end() >= SMALL


async def check(site: Site) -> None:
    """All is there, and equal to what the journal makes."""
    assert state((await site.recovered())[0]) == state(site.machine)
    assert (await verify(site.stored)).problems == ()


async def test_writes_in_doubt_are_made_once() -> None:
    site, store = await short_life()
    store.doubts = 25
    await take(site.stored, site.clock)
    await check(site)


async def test_several_at_once_and_killed_at_random() -> None:
    for seed in range(20):
        site, store = await short_life()
        store.left = 100 + 17 * seed
        runs = [asyncio.create_task(take(site.stored, site.clock)) for _ in range(3)]
        await asyncio.gather(*(_until_dead(run) for run in runs))
        store.left = None
        await check(site)
        await take(site.stored, site.clock)
        await check(site)


async def _until_dead(run: asyncio.Task[Any]) -> None:
    with suppress(Dead):
        await run
