from __future__ import annotations

import asyncio
from random import Random

import pytest

from mesh.clock import Clock, ManualClock
from mesh.leases import LEASES, MARGIN, TTL_S, Leadership, LeadershipLost, Lease, lead
from mesh.records import Bins, InDoubt, Record, Stale, Store
from mesh.records.memory import MemoryStore
from mesh.records.testing import Faults, FaultyStore

NO_FAULTS = Faults()
CUT_OFF = Faults(unavailable=1)


class SkewedClock:
    """A monotonic clock with a start and a speed of its own."""

    def __init__(self, clock: ManualClock, *, rate: float, offset_s: float) -> None:
        self._clock, self._rate, self._offset_s = clock, rate, offset_s

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def monotonic_s(self) -> float:
        return self._offset_s + self._clock.monotonic_s() * self._rate

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds / self._rate)


class SlowStore(FaultyStore):
    """It takes its time before and after each operation."""

    def __init__(self, store: Store, clock: ManualClock, random: Random) -> None:
        super().__init__(store, NO_FAULTS, random)
        self._clock, self._pauses = clock, random

    async def get(self, set_name: str, key: str) -> Record | None:
        await self._pause()
        found = await super().get(set_name, key)
        await self._pause()
        return found

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        await self._pause()
        generation = await super().create(set_name, key, bins)
        await self._pause()
        return generation

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        await self._pause()
        generation = await super().put_if(set_name, key, bins, generation)
        await self._pause()
        return generation

    async def _pause(self) -> None:
        longest_s = TTL_S * self._pauses.choice([0.01, 0.01, 0.1, 1])
        await self._clock.sleep(self._pauses.uniform(0, longest_s))


class Worker:
    """Leads whenever it can, and says so in `leaders`."""

    def __init__(self, store: Store, clock: Clock, leaders: list[Worker], tokens: list[int]) -> None:
        self.lease = Lease(store, "job", clock=clock)
        self.leaders, self.tokens = leaders, tokens

    async def run(self) -> None:
        await lead(self.lease, self._work)

    async def _work(self, leadership: Leadership) -> None:
        leadership.check()
        self.leaders.append(self)
        self.tokens.append(leadership.token)
        try:
            await asyncio.Event().wait()
        finally:
            self.leaders.remove(self)


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore([LEASES])


async def test_one_holds_it_and_others_wait_until_it_is_released(store: MemoryStore) -> None:
    clock = ManualClock()
    one, other = (Lease(store, "job", clock=clock) for _ in range(2))
    assert await one.acquire()
    assert not await other.acquire()
    assert one.held
    assert not other.held
    await one.release()
    assert one.left_s == 0
    assert await other.acquire()
    assert other.token > one.token


async def test_renewing_keeps_it_for_ever(store: MemoryStore) -> None:
    clock = ManualClock()
    one, other = (Lease(store, "job", clock=clock) for _ in range(2))
    assert await one.acquire()
    for _ in range(50):
        assert await one.renew()
        assert not await other.acquire()
        await clock.advance(TTL_S / 2)
    assert one.held
    assert one.token == 1


async def test_a_holder_stops_believing_before_anyone_may_take_over(store: MemoryStore) -> None:
    clock = ManualClock()
    one, other = (Lease(store, "job", clock=clock) for _ in range(2))
    assert await one.acquire()
    assert not await other.acquire()
    await clock.advance(TTL_S * (1 - MARGIN))
    assert not one.held
    assert not await one.renew()
    assert not await other.acquire()
    await clock.advance(TTL_S * MARGIN)
    assert not await other.acquire()
    await clock.advance(0.01)
    assert await other.acquire()


async def test_a_candidate_trusts_its_own_watching_only(store: MemoryStore) -> None:
    clock = ManualClock()
    assert await Lease(store, "job", clock=clock).acquire()
    await clock.advance(100 * TTL_S)
    late = Lease(store, "job", clock=clock)
    assert not await late.acquire()
    await clock.advance(TTL_S + 0.01)
    assert await late.acquire()


async def test_a_lost_lease_is_noticed_on_renewal(store: MemoryStore) -> None:
    clock = ManualClock()
    one, thief = (Lease(store, "job", clock=clock) for _ in range(2))
    assert await one.acquire()
    record = await store.get(LEASES.name, "job")
    assert record is not None
    await store.put_if(LEASES.name, "job", {**record.bins, "holder": "thief", "token": 7}, record.generation)
    assert not await one.renew()
    assert not one.held
    await one.release()
    assert not await thief.acquire()
    record = await store.get(LEASES.name, "job")
    assert record is not None
    assert record.text("holder") == "thief"


@pytest.mark.parametrize(
    "faults", [Faults(in_doubt_applied=1), Faults(in_doubt_lost=1), Faults(in_doubt_late=1)]
)
async def test_doubt_is_settled_by_looking(store: MemoryStore, faults: Faults) -> None:
    clock = ManualClock()
    faulty = FaultyStore(store, faults, Random(1))
    one, other = Lease(faulty, "job", clock=clock), Lease(store, "job", clock=clock)
    with pytest.raises(InDoubt):
        await one.acquire()
    assert one.left_s == 0
    faulty.faults = NO_FAULTS
    for _ in range(3):
        if await one.acquire():
            break
    assert one.held
    token = one.token
    faulty.faults = faults
    with pytest.raises(InDoubt):
        await one.renew()
    faulty.faults = NO_FAULTS
    await clock.advance(TTL_S / 2)
    for _ in range(3):
        try:
            assert await one.renew()
            break
        except Stale:
            continue
    assert one.token == token
    await clock.advance(TTL_S / 2)
    assert one.held
    assert not await other.acquire()


async def test_lead_cancels_the_work_when_the_store_is_away_and_leads_again_later(store: MemoryStore) -> None:
    clock, leaders, tokens = ManualClock(), list[Worker](), list[int]()
    faulty = FaultyStore(store, NO_FAULTS, Random(1))
    cut_off, other = Worker(faulty, clock, leaders, tokens), Worker(store, clock, leaders, tokens)
    first = asyncio.create_task(cut_off.run())
    await clock.advance(1)
    second = asyncio.create_task(other.run())
    await clock.advance(10)
    assert leaders == [cut_off]
    faulty.faults = CUT_OFF
    await clock.advance(TTL_S * (1 - MARGIN))
    assert leaders == []
    await clock.advance(TTL_S)
    assert leaders == [other]
    faulty.faults = NO_FAULTS
    await clock.advance(20)
    assert leaders == [other]
    await stop(second)
    await clock.advance(1)
    assert leaders == [cut_off]
    await stop(first)
    assert leaders == []
    assert tokens == sorted(set(tokens))


async def test_a_clean_stop_hands_over_at_once(store: MemoryStore) -> None:
    clock, leaders, tokens = ManualClock(), list[Worker](), list[int]()
    one, other = (Worker(store, clock, leaders, tokens) for _ in range(2))
    first, second = asyncio.create_task(one.run()), asyncio.create_task(other.run())
    await clock.advance(1)
    assert leaders == [one]
    await stop(first)
    await clock.advance(TTL_S / 10)
    assert leaders == [other]
    await stop(second)


class RunsOn(FaultyStore):
    """Who is cancelled stops waiting for its claim, which is written all the same, as by a thread."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, NO_FAULTS, Random(0))
        self.asked, self.goes = asyncio.Event(), asyncio.Event()

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        self.asked.set()
        return await asyncio.shield(self._create(set_name, key, bins))

    async def _create(self, set_name: str, key: str, bins: Bins) -> int:
        await self.goes.wait()
        return await super().create(set_name, key, bins)


async def test_who_stops_in_its_claim_releases_what_came_of_it(store: MemoryStore) -> None:
    clock, leaders, tokens = ManualClock(), list[Worker](), list[int]()
    slow = RunsOn(store)
    claims = asyncio.create_task(Worker(slow, clock, leaders, tokens).run())
    await slow.asked.wait()
    claims.cancel()
    await asyncio.sleep(0)
    slow.goes.set()
    await asyncio.wait((claims,))
    assert await Lease(store, "job", clock=clock).acquire()
    assert leaders == []


async def test_work_that_ends_or_fails_ends_the_lead_and_releases(store: MemoryStore) -> None:
    clock = ManualClock()

    async def done(leadership: Leadership) -> None:
        leadership.check()

    async def broken(leadership: Leadership) -> None:
        raise RuntimeError(f"token {leadership.token}")

    await lead(Lease(store, "job", clock=clock), done)
    with pytest.raises(RuntimeError, match="token 2"):
        await lead(Lease(store, "job", clock=clock), broken)
    assert await Lease(store, "job", clock=clock).acquire()


async def test_check_refuses_after_the_end(store: MemoryStore) -> None:
    clock = ManualClock()
    lease = Lease(store, "job", clock=clock)
    assert await lease.acquire()
    leadership = Leadership(lease)
    leadership.check()
    await clock.advance(TTL_S)
    with pytest.raises(LeadershipLost):
        leadership.check()


@pytest.mark.parametrize("seed", range(30))
async def test_never_two_leaders_under_faults_skewed_clocks_and_restarts(
    store: MemoryStore, seed: int
) -> None:
    random, clock = Random(seed), ManualClock()
    leaders, tokens = list[Worker](), list[int]()
    running: list[tuple[Worker, FaultyStore, asyncio.Task[None]]] = []
    weather = [
        NO_FAULTS,
        CUT_OFF,
        Faults(busy=0.3, in_doubt_applied=0.2, in_doubt_lost=0.2, in_doubt_late=0.2),
        Faults(in_doubt_late=0.8),
    ]

    def begin() -> None:
        faulty = SlowStore(store, clock, Random(random.random()))
        skewed = SkewedClock(clock, rate=random.uniform(0.95, 1.05), offset_s=random.uniform(0, 1e5))
        worker = Worker(faulty, skewed, leaders, tokens)
        running.append((worker, faulty, asyncio.create_task(worker.run())))

    for _ in range(3):
        begin()
    led = 0
    try:
        for _ in range(100):
            for _ in range(8):
                await clock.advance(random.uniform(0, TTL_S / 8))
                believers = [worker for worker, _, _ in running if worker.lease.held]
                assert len(believers) <= 1, f"seed {seed}"
                assert len(leaders) <= 1, f"seed {seed}"
                led += len(leaders)
            chosen = random.randrange(len(running))
            if random.random() < 0.2:
                running.pop(chosen)[2].cancel()
                begin()
            else:
                running[chosen][1].faults = random.choice(weather)
    finally:
        for _, _, task in running:
            task.cancel()
        await clock.advance(10 * TTL_S)
    assert tokens == sorted(set(tokens)), f"seed {seed}"
    assert led > 50, f"seed {seed}: nobody got to lead"
