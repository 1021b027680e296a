"""Facts in, series out: once each, in the right step, within bounds, traceable."""

from __future__ import annotations

import asyncio

import pytest

from mesh.clock import NS_PER_S
from mesh.pages import PageTokenInvalid, page_token
from mesh.records import InDoubt, Store
from services.insight.adapters.records import FactRecords
from services.insight.app.tallies import Tallies
from services.insight.domain.facts import Batch, Fact
from services.insight.domain.failures import MetricNotFound, RangeInvalid
from services.insight.domain.series import CHUNK_S
from tests.insight.world import SpokenSource, World, batch
from tests.resting import TURNS


@pytest.fixture
async def world(store: Store) -> World:
    made = World(store)
    await made.clock.advance(CHUNK_S * 10)
    await made.start()
    return made


async def test_sums_fall_into_their_steps(world: World) -> None:
    start = world.now_s
    await world.tallies.take(
        [
            batch("a/1", start, ("revenue.takings", 5, "m")),
            batch("a/2", start + 9.9, ("revenue.takings", 6, "m")),
            batch("a/3", start + 10, ("revenue.takings", 7, "m")),
            batch("a/4", start + 35, ("revenue.takings", -2, "m")),
        ]
    )
    assert await world.values("revenue.takings", start, start + 40) == [11, 7, 0, -2]
    assert await world.values("revenue.takings", start, start + 40, 20) == [18, -2]


async def test_distinct_counts_each_subject_once_per_step(world: World) -> None:
    start = world.now_s // 60 * 60
    await world.tallies.take(
        [batch(f"a/{n}", start + n * 10, ("users.active", 1, f"u{n % 2}")) for n in range(6)]
    )
    assert await world.values("users.active", start, start + 60) == [1] * 6
    assert await world.values("users.active", start, start + 60, 60) == [2]


async def test_last_value_holds(world: World) -> None:
    start = (world.now_s // CHUNK_S - 1) * CHUNK_S
    await world.tallies.take(
        [
            batch("b/1", start - 2 * CHUNK_S, ("chain.height", 99, "h")),
            batch("b/2", start + 21, ("chain.height", 101, "h")),
            batch("b/3", start + 22, ("chain.height", 100, "h")),
        ]
    )
    assert await world.values("chain.height", start, start + 50) == [99, 99, 100, 100, 100]
    assert await world.values("chain.height", start + 30, start + 50) == [100, 100]


async def test_said_again_adds_nothing(world: World, store: Store) -> None:
    start = world.now_s
    found = [batch(f"a/{n}", start + n, ("market.volume", n, "m")) for n in range(20)]
    assert await world.tallies.take(found) == 20
    assert await world.tallies.take(found) == 0
    again = Tallies(FactRecords(store), world.clock)
    await again.load()
    assert await again.take(found) == 0, "also after a restart"
    assert sum(await world.values("market.volume", start, start + 20)) == 190


async def test_late_facts_reach_chunks_that_were_counted_for_good(world: World, store: Store) -> None:
    start = (world.now_s // CHUNK_S - 3) * CHUNK_S
    await world.tallies.take([batch("a/1", start, ("market.sales", 1, "m"))])
    assert await world.values("market.sales", start, start + CHUNK_S, CHUNK_S) == [1]
    assert await world.facts.chunks([start // CHUNK_S]) != {}
    await world.tallies.take([batch("a/2", start + 5, ("market.sales", 1, "m"))])
    assert await world.values("market.sales", start, start + CHUNK_S, CHUNK_S) == [2]
    again = World(store)
    again.clock = world.clock
    await again.start()
    assert await again.values("market.sales", start, start + CHUNK_S, CHUNK_S) == [2]


class DoubtfulFacts(FactRecords):
    """Writes once without being sure of it."""

    doubted = False

    async def create(self, found: Batch) -> bool:
        is_new = await super().create(found)
        if not self.doubted:
            self.doubted = True
            raise InDoubt
        return is_new


async def test_write_in_doubt_is_counted_once(world: World, store: Store) -> None:
    start = world.now_s
    tallies = Tallies(DoubtfulFacts(store), world.clock)
    await tallies.chunks(range(start // CHUNK_S, start // CHUNK_S + 1))
    found = [batch("a/1", start, ("market.sales", 1, "m"))]
    with pytest.raises(InDoubt):
        await tallies.take(found)
    await tallies.take(found)
    (chunk,) = await tallies.chunks(range(start // CHUNK_S, start // CHUNK_S + 1))
    assert sum(chunk.sums["market.sales"].values()) == 1


class SlowFacts(FactRecords):
    """One write is in doubt when the others are done, and have not heard of it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._written, self._in_doubt, self.heard = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def create(self, batch: Batch) -> bool:
        if batch.id == "a/1":
            await self._written.wait()
            self._in_doubt.set()
            raise InDoubt
        is_new = await super().create(batch)
        self._written.set()
        await self._in_doubt.wait()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self.heard.set()
        return is_new


async def test_writes_beside_one_in_doubt_are_counted_once(world: World, store: Store) -> None:
    start = world.now_s
    facts, now = SlowFacts(store), range(start // CHUNK_S, start // CHUNK_S + 1)
    tallies = Tallies(facts, world.clock)
    tallies.began = now.start
    with pytest.raises(InDoubt):
        await tallies.take([batch(f"a/{n}", start, ("market.sales", 1, "m")) for n in (1, 2)])
    await tallies.chunks(now)
    await facts.heard.wait()
    await asyncio.sleep(0)  # and it is told
    (chunk,) = await tallies.chunks(now)
    assert sum(chunk.sums["market.sales"].values()) == 1


async def test_what_another_leader_still_wrote_is_counted(world: World, store: Store) -> None:
    start, found = world.now_s, [batch("a/1", world.now_s, ("market.sales", 1, "m"))]
    assert await world.values("market.sales", start, start + 10) == [0]
    await Tallies(FactRecords(store), world.clock).take(found)
    await world.tallies.take(found)
    assert await world.values("market.sales", start, start + 10) == [1]


async def test_a_chunk_too_big_for_a_record_is_shown_all_the_same(world: World) -> None:
    start = world.now_s // CHUNK_S * CHUNK_S
    for part in range(15):
        users = [("users.active", 1, f"{part}-{n}".zfill(36)) for n in range(2_000)]
        await world.tallies.take([batch(f"a/{part}", start + part * 20, *users)])
    await world.clock.advance(3 * CHUNK_S)
    await world.stop()
    await world.start()
    for _ in range(2):
        assert await world.values("users.active", start, start + CHUNK_S, CHUNK_S) == [30_000]
    await world.tallies.take([batch("a/late", start, ("users.active", 1, "late"))])
    assert await world.values("users.active", start, start + CHUNK_S, CHUNK_S) == [30_001]


async def test_series_equals_the_events_behind_it(world: World) -> None:
    start = (world.now_s // CHUNK_S - 4) * CHUNK_S
    facts = [("revenue.takings", n, f"m{n}") for n in range(5)]
    for n in range(60):
        await world.tallies.take([batch(f"a/{n:02d}", start + n * 37, *facts, ("users.new", 1, "u"))])
    total = sum(await world.values("revenue.takings", start, world.now_s))
    found, token, pages = [], "", 0
    while True:
        page, token = await world.insight.events(
            "revenue.takings", start_ns=start * NS_PER_S, end_ns=world.clock.now_ns(), size=7, token=token
        )
        found += page
        pages += 1
        if not token:
            break
    assert sum(event.fact.value for event in found) == total == 600
    assert len({event.id for event in found}) == len(found) == 300
    assert [event.at_ns for event in found] == sorted(event.at_ns for event in found)
    assert pages >= 300 // 7
    assert found[0].id == "a/00/0"


async def test_events_of_part_of_a_chunk(world: World) -> None:
    start = (world.now_s // CHUNK_S - 1) * CHUNK_S
    await world.tallies.take([batch(f"a/{n}", start + n, ("users.new", 1, "u")) for n in range(10)])
    found, _ = await world.insight.events(
        "users.new", start_ns=(start + 3) * NS_PER_S, end_ns=(start + 6) * NS_PER_S, size=0, token=""
    )
    assert [event.id for event in found] == ["a/3/0", "a/4/0", "a/5/0"]


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [
        (0, 0, 10),
        (10, 5, 10),
        (-10, 5, 10),
        (0, 15_010, 10),
        (0, 600, 15),
        (-32 * 86_400, 0, 86_400),
        (7_000, 8_000, 10),
    ],
)
async def test_ranges_have_bounds(world: World, start: int, end: int, step: int) -> None:
    now = world.now_s
    begin = now - 6_000 + start if start >= 0 else now + start
    with pytest.raises(RangeInvalid):
        checked_end = now - 6_000 + end if start >= 0 else (now if end == 0 else begin - 1)
        await world.insight.series(
            ["users.new"], start_ns=begin * NS_PER_S, end_ns=checked_end * NS_PER_S, step_s=step
        )


async def test_unknown_metrics(world: World) -> None:
    with pytest.raises(MetricNotFound):
        await world.values("users.imaginary", world.now_s - 10, world.now_s)
    found = await world.insight.series(
        ["users.imaginary", "users.new"],
        start_ns=(world.now_s - 10) * NS_PER_S,
        end_ns=world.clock.now_ns(),
        step_s=10,
    )
    assert [one.metric.name for one in found] == ["users.new"]
    with pytest.raises(ValueError, match="no metric"):
        Fact("users.imaginary", 1, "u")


@pytest.mark.parametrize("place", ["x", "1", "1.2.3", "-1.0", "1.x", "0.0", "999999999999.0"])
async def test_foreign_page_tokens(world: World, place: str) -> None:
    start_ns, end_ns = (world.now_s - 10) * NS_PER_S, world.clock.now_ns()
    for token in (place, page_token(f"events users.new/{start_ns}/{end_ns}", place)):
        with pytest.raises(PageTokenInvalid):
            await world.insight.events("users.new", start_ns=start_ns, end_ns=end_ns, size=5, token=token)


async def test_a_page_token_is_good_for_its_list_only(world: World) -> None:
    start, end = world.now_s - 60, world.now_s
    await world.tallies.take(
        [batch(f"identity/{n}", start + n, ("users.new", 1, f"u{n}")) for n in (1, 2, 3)]
    )

    async def events(name: str, start_s: int, token: str) -> tuple[list[str], str]:
        found, following = await world.insight.events(
            name, start_ns=start_s * NS_PER_S, end_ns=end * NS_PER_S, size=2, token=token
        )
        return [event.id for event in found], following

    first, token = await events("users.new", start, "")
    for other, start_s in (("market.sales", start), ("users.new", start + 1)):
        with pytest.raises(PageTokenInvalid):
            await events(other, start_s, token)
    assert first == ["identity/1/0", "identity/2/0"]
    assert await events("users.new", start, token) == (["identity/3/0"], "")


async def test_streams_are_resumed_behind_their_cursor(store: Store) -> None:
    source = SpokenSource("ledger")
    world = World(store, [source])
    await world.start()
    start = world.now_s
    source.say(batch("ledger/1", start, ("users.new", 1, "u")))
    await world.settle()
    await world.clock.advance(2)
    source.say(batch("ledger/2", start + 1, ("users.new", 1, "u")))
    await world.settle()
    await world.stop()
    source.say(batch("ledger/3", start + 2, ("users.new", 1, "u")))
    await world.start()
    assert source.opened_at[-1] == "2"
    assert sum(await world.values("users.new", start, start + 10)) == 3
    assert sum(await world.values("insight.gaps", start, start + 10)) == 0
    await world.stop()


async def test_gap_is_told_and_what_can_be_read_is_read(store: Store) -> None:
    source = SpokenSource("rounds")
    world = World(store, [source])
    await world.start()
    start = world.now_s
    known = batch("rounds/1", start, ("rounds.completed", 1, "r1"))
    source.say(known)
    await world.settle()
    await world.stop()
    lost = batch("rounds/2", start + 3, ("rounds.completed", 1, "r2"))
    source.said.append((lost,))
    source.past = [[lost, known], [known]]
    source.forgets = True
    await world.start()
    await world.settle()
    assert sum(await world.values("rounds.completed", start, start + 10)) == 2
    assert await world.values("insight.gaps", start, start + 10, 10) == [1]
    await world.stop()


async def test_complete_until_is_the_oldest_of_all_streams(store: Store) -> None:
    heard, silent = SpokenSource("ledger"), SpokenSource("chain")
    world = World(store, [heard, silent])
    await world.start()
    begun = world.clock.now_ns()
    await world.clock.advance(5)
    heard.say(batch("ledger/1", world.now_s, ("users.new", 1, "u")))
    await world.settle()
    assert world.listening.complete_until_ns() == begun
    await world.stop()


async def test_nothing_is_complete_while_a_feed_is_away(store: Store) -> None:
    source = SpokenSource("chain")
    world = World(store, [source])
    await world.start()
    begun, start = world.clock.now_ns(), world.now_s
    fact = batch("rounds/1", start, ("rounds.completed", 1, "r1"))
    for _ in range(3):
        await world.clock.advance(5)
        source.say_away(fact)
        await world.settle()
    assert world.listening.complete_until_ns() == begun
    assert sum(await world.values("rounds.completed", start, start + 20)) == 1
    assert sum(await world.values("insight.gaps", start, start + 20)) == 0
    source.forgets = True
    source.breaks()
    for _ in range(5):
        await world.clock.advance(1)
        await world.settle()
    assert world.listening.complete_until_ns() > begun
    assert sum(await world.values("insight.gaps", start, start + 20)) == 1
    await world.stop()


async def test_live_values_are_those_of_the_last_minute(world: World) -> None:
    await world.tallies.take([batch("a/1", world.now_s - 5, ("users.new", 3, "u"), ("chain.height", 7, "h"))])
    world.show_live()
    await world.settle()
    watching = world.live.watch()
    first = await anext(watching)
    assert first is not None
    assert (first.values["users.new"], first.values["chain.height"]) == (3, 7)
    await world.clock.advance(90)
    await world.settle()
    later = await anext(watching)
    assert later is not None
    assert (later.values["users.new"], later.values["chain.height"]) == (0, 7)
    await world.stop()
