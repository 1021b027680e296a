"""The keeper beside the ledger: when snapshots are taken, and what leaves memory by them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from obstore.store import MemoryStore as MemoryObjects

from mesh.clock import NS_PER_S, ManualClock
from mesh.records.memory import MemoryStore
from services.ledger.__main__ import SETS
from services.ledger.adapters import child
from services.ledger.adapters.archive import ObjectArchive
from services.ledger.adapters.history import StoreHistory
from services.ledger.adapters.journal import StoreJournal
from services.ledger.adapters.snapshots import StoreSnapshots
from services.ledger.app import keeping
from services.ledger.app.keeping import LOOK_EVERY_S, PAUSE_AFTER_FAILURE_S, Keeper, SnapshotFailed
from services.ledger.app.ledger import FOLLOW_EVERY_S
from services.ledger.app.snapshotting import Stored, take
from services.ledger.app.verify import verify
from services.ledger.domain import image
from services.ledger.domain.pages import PAGE
from services.ledger.rpc.read import read_command
from tests.ledger.stores import Instance
from tests.ledger.test_journal import deposit, pay

EVERY = 3 * PAGE
# A short one: standbys look every 0.1 s of it.
DAY_S = 200


class WatchedClock(ManualClock):
    """Knows who waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._asleep: set[asyncio.Task[Any] | None] = set()

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        self._asleep.add(task)
        try:
            await super().sleep(seconds)
        finally:
            self._asleep.discard(task)

    async def until_asleep(self, *tasks: asyncio.Task[None]) -> None:
        """Returns when all that still run wait for time to pass; what they do in threads has been done."""
        while not self._asleep.issuperset(task for task in tasks if not task.done()):
            await asyncio.sleep(0.001)


class Place:
    """A leader and a standby, each with a keeper; snapshots are taken in the test's own process."""

    def __init__(self) -> None:
        store, self.clock = MemoryStore(SETS), WatchedClock()
        self.stored = Stored(
            journal=StoreJournal(store, self.clock, read_command),
            history=StoreHistory(store, self.clock),
            snapshots=StoreSnapshots(store, self.clock),
            archive=ObjectArchive(store, MemoryObjects(), self.clock, read_command),
        )
        self.taken = 0
        self.fails = False
        # Transfers made while the next snapshot is taken.
        self.meanwhile = 0
        self.leader, self.standby = (
            Instance(self.stored.journal, self.clock, name, load=self.stored.recovery.load)
            for name in ("leader", "standby")
        )
        self.tasks = [asyncio.create_task(self.keeper(one).keep()) for one in (self.leader, self.standby)]

    def keeper(self, instance: Instance) -> Keeper:
        return Keeper(instance.ledger, self.stored.snapshots, self.clock, self.take, every=EVERY)

    async def take(self) -> str:
        if self.fails:
            raise SnapshotFailed("on purpose")
        self.taken += 1
        await take(self.stored, ManualClock())
        count, self.meanwhile = self.meanwhile, 0
        await self.pay(f"meanwhile{self.taken}", count)
        return "told"

    async def pay(self, name: str, count: int) -> None:
        for number in range(0, count, 500):
            await self.leader.ledger.submit(pay(f"{name}{number}", *[1] * 500))

    async def tick(self, seconds: float = LOOK_EVERY_S) -> None:
        """Time for everybody to look once; it stands still while anybody works."""
        looks, rest_s = divmod(seconds, LOOK_EVERY_S)
        for step_s in (*[LOOK_EVERY_S] * round(looks), rest_s, FOLLOW_EVERY_S):
            await self.clock.advance(step_s)
            await self.clock.until_asleep(*self.tasks, *filter(None, [self.standby.following]))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    await place.leader.lead()
    place.standby.follow()
    await place.leader.ledger.submit(deposit(1, sats=100_000))
    yield place
    for task in place.tasks:
        task.cancel()
    for instance in (place.leader, place.standby):
        await instance.kill()


async def kept(instance: Instance) -> int:
    return await instance.ledger.ask(lambda machine, _: len(machine.books.postings), anywhere=True)


async def state_of(instance: Instance) -> bytes:
    return await instance.ledger.ask(lambda machine, _: image.hash_of(image.dump(machine)), anywhere=True)


async def test_a_snapshot_is_taken_when_there_was_enough_work(place: Place) -> None:
    await place.pay("t", EVERY - 500)
    await place.tick()
    assert place.taken == 0
    await place.pay("u", 1_000)
    await place.tick()
    assert place.taken == 1
    await place.tick()
    made = EVERY + 500 + 1
    for instance in (place.leader, place.standby):
        assert await kept(instance) == made % PAGE
    assert await state_of(place.leader) == await state_of(place.standby)
    await place.tick(600)
    assert place.taken == 1
    await place.pay("v", EVERY)
    await place.tick(60)
    assert place.taken == 2
    assert await kept(place.leader) < PAGE
    assert (await verify(place.stored)).problems == ()


@pytest.mark.parametrize(("meanwhile", "taken"), [(EVERY, 1), (keeping.BEHIND * EVERY, 2)])
async def test_one_that_fell_behind_is_followed_by_another_at_once(
    place: Place, meanwhile: int, taken: int
) -> None:
    place.meanwhile = meanwhile
    await place.pay("t", EVERY)
    await place.tick()
    assert place.taken == 1
    await place.tick()
    assert place.taken == taken
    await place.tick(keeping.PAUSE_S)
    assert place.taken == 2


async def test_once_a_day_if_anything_was_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "DAY_NS", DAY_S * NS_PER_S)
    await place.pay("t", EVERY)
    await place.tick()
    assert place.taken == 1
    await place.tick(DAY_S + 10)
    assert place.taken == 1
    await place.pay("u", 500)
    await place.tick(70)
    assert place.taken == 2
    await place.tick(DAY_S / 2)
    assert place.taken == 2


async def test_a_failure_hurts_nobody(place: Place) -> None:
    place.fails = True
    await place.pay("t", EVERY)
    await place.tick()
    await place.pay("u", EVERY)
    place.fails = False
    await place.tick(PAUSE_AFTER_FAILURE_S + 1)
    assert place.taken == 1
    await place.tick()
    assert await kept(place.standby) < PAGE


async def test_a_snapshot_by_somebody_else_counts(place: Place) -> None:
    await place.pay("t", EVERY - 500)
    await place.tick()
    await take(place.stored, ManualClock())
    await place.tick()
    assert await kept(place.leader) < PAGE
    assert await kept(place.standby) < PAGE
    await place.pay("u", 500)
    await place.tick()
    assert place.taken in (0, 1)  # the very first may be one too many: who began it is not known
    place.leader.in_office = False


async def test_a_restored_instance_takes_over(place: Place) -> None:
    await place.pay("t", EVERY)
    await place.tick()
    before = await state_of(place.leader)
    fresh = Instance(place.stored.journal, place.clock, "fresh", load=place.stored.recovery.load)
    await place.leader.kill()
    await place.standby.kill()
    await fresh.lead()
    assert place.taken == 1
    assert await fresh.ledger.submit(pay("t0", *[1] * 500))
    after = await state_of(fresh)
    assert after != before  # the new reign
    assert await kept(fresh) < PAGE
    await fresh.kill()
    assert (await verify(place.stored)).problems == ()


async def test_the_process_is_ended_with_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = (sys.executable, "-c", "import time; time.sleep(600)")
    monkeypatch.setattr(child, "COMMAND", sleeps)
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def noted(*command: Any, **how: Any) -> asyncio.subprocess.Process:
        started.append(await start(*command, **how))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    task = asyncio.create_task(child.take_snapshot())
    while not started:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert started[0].returncode not in (None, 0)


async def test_what_the_process_said_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", "print('done')"))
    assert await child.take_snapshot() == "done"
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", "import sys; sys.exit('no disk')"))
    with pytest.raises(SnapshotFailed, match="exit code 1: no disk"):
        await child.take_snapshot()
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    monkeypatch.setattr(child, "WITHIN_S", 0.2)
    with pytest.raises(SnapshotFailed, match="more than"):
        await child.take_snapshot()


async def test_a_process_that_cannot_be_started_is_a_snapshot_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "COMMAND", ("/nowhere/satreel-ledger",))
    with pytest.raises(SnapshotFailed, match="cannot be started"):
        await child.take_snapshot()
