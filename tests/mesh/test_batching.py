"""Lookups gathered into batches."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh import caller, deadlines, telemetry
from mesh.batching import Batcher
from mesh.caller import NOBODY, Caller
from mesh.errors import DeadlineExceeded, Overloaded, Unavailable


class Source:
    """Answers even numbers, slowly if told."""

    def __init__(self, *, slow: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.fails: Exception | None = None
        self.callers: list[Caller] = []
        self.given_up: list[list[int]] = []
        if not slow:
            self.go.set()

    async def fetch(self, keys: list[int]) -> Mapping[int, str]:
        self.batches.append(keys)
        self.callers.append(caller.current())
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up.append(keys)
            # Whoever is told to end may take its time.
            await asyncio.sleep(0.01)
            raise
        if self.fails is not None:
            raise self.fails
        return {key: str(key) for key in keys if key % 2 == 0}


async def test_those_who_ask_together_share_one_call() -> None:
    source = Source()
    async with Batcher(source.fetch) as numbers:
        assert await asyncio.gather(*(numbers.get(key) for key in (2, 4, 5, 2))) == ["2", "4", None, "2"]
    assert source.batches == [[2, 4, 5]]


async def test_while_calls_run_keys_gather_for_the_next() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch, in_flight_max=1, slow_s=60) as numbers:
        first = asyncio.ensure_future(numbers.get(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(numbers.get(key)) for key in (4, 6, 2)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert source.batches == [[2]]
        source.go.set()
        assert await asyncio.gather(first, *rest) == ["2", "4", "6", "2"]
    # An answer is never older than the question: 2 was asked for again after its batch had been sent.
    assert source.batches == [[2], [4, 6, 2]]


async def test_slow_batches_hold_nobody_up() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch, in_flight_max=1, slow_s=0.02) as numbers:
        slow = asyncio.ensure_future(numbers.get(2))
        while not source.batches:
            await asyncio.sleep(0)
        source.go, held = asyncio.Event(), source.go
        source.go.set()
        assert await asyncio.wait_for(numbers.get(4), 30) == "4"
        assert not slow.done()
        held.set()
        assert await slow == "2"
    assert source.batches == [[2], [4]]


async def test_who_is_cancelled_takes_nothing_from_the_others() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch) as numbers:

        async def ask() -> str | None:
            return await numbers.ask(2)  # type: ignore[no-any-return]

        leaves, stays = asyncio.ensure_future(ask()), asyncio.ensure_future(ask())
        await asyncio.sleep(0.01)
        leaves.cancel()
        source.go.set()
        assert await stays == "2"
        with pytest.raises(asyncio.CancelledError):
            await leaves
    assert source.batches == [[2]]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def left(*leaving: asyncio.Task[str | None]) -> None:
    """They are cancelled, and end at once."""
    for one in leaving:
        one.cancel()
    ended = await asyncio.wait_for(asyncio.gather(*leaving, return_exceptions=True), 30)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


async def test_the_last_one_who_leaves_ends_the_batch() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch) as numbers:
        together = [asyncio.create_task(numbers.get(key)) for key in (2, 4, 4, 5)]
        await settled()
        assert source.batches == [[2, 4, 5]]
        await left(*together[:3])
        await settled()
        assert source.given_up == []
        await left(together[3])
        assert source.given_up == [[2, 4, 5]]


async def test_who_asks_while_a_batch_is_being_ended_begins_anew() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch) as numbers:
        for _ in range(3):
            gone = asyncio.create_task(numbers.get(2))
            await settled()
            await left(gone)
        assert source.given_up == [[2], [2], [2]]
        source.go.set()
        assert await numbers.get(2) == "2"
    assert source.batches == [[2], [2], [2], [2]]


async def test_what_nobody_waits_for_any_more_is_not_fetched() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch, in_flight_max=1) as numbers:
        first = asyncio.create_task(numbers.get(2))
        await settled()
        gone, stays = (asyncio.create_task(numbers.get(key)) for key in (4, 6))
        await settled()
        await left(gone)
        source.go.set()
        assert (await first, await stays) == ("2", "6")
        source.go = asyncio.Event()
        alone, source.batches = asyncio.create_task(numbers.get(8)), []
        await asyncio.sleep(0)
        await left(alone)
        await settled()
    assert source.batches == []


async def test_parts_of_one_task_take_nothing_from_each_other() -> None:
    """As the fields of a request: one that is cancelled waits with the others, until the task itself is."""
    source = Source(slow=True)
    async with Batcher(source.fetch) as numbers:

        async def work() -> list[str | BaseException | None]:
            answer = numbers.ask(2)

            async def part() -> str | None:
                return await answer  # type: ignore[no-any-return]

            parts = [asyncio.create_task(part()) for _ in range(3)]
            await asyncio.sleep(0)
            parts[0].cancel()
            parts[0].cancel()
            return await asyncio.gather(*parts, return_exceptions=True)

        working = asyncio.create_task(work())
        await settled()
        assert source.given_up == []
        source.go.set()
        assert [str(one) for one in await working] == ["", "2", "2"]
        source.go = asyncio.Event()
        await left(asyncio.create_task(numbers.get(4)), ended := asyncio.create_task(work()))  # type: ignore[arg-type] # it ends all the same
        await settled()
        assert ended.cancelled()


async def test_whoever_stays_is_answered_whoever_leaves() -> None:
    """Many ask and many leave, at any time; calls take their time and fail. Nothing is left behind."""
    chance, version, complaints = random.Random(7), 0, list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))

    async def fetch(keys: list[int]) -> Mapping[int, int]:
        sent = version
        await asyncio.sleep(chance.random() / 200)
        if chance.random() < 0.2:
            raise Unavailable("away")
        return dict.fromkeys(keys, sent)

    async with Batcher(fetch, batch_max=3, in_flight_max=2, slow_s=0.003) as versions:

        async def ask() -> bool:
            nonlocal version
            version += 1
            asked_at = version
            try:
                told = await versions.get(chance.randrange(8))
            except Unavailable:
                return False
            assert told is not None
            assert told >= asked_at
            return True

        async def come_and_go() -> list[bool]:
            told = []
            for _ in range(40):
                asking = asyncio.create_task(ask())
                await asyncio.sleep(chance.random() / 300)
                if chance.random() < 0.5:
                    asking.cancel()
                try:
                    told.append(await asyncio.wait_for(asking, 30))
                except asyncio.CancelledError:
                    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
            return told

        told = [one for some in await asyncio.gather(*(come_and_go() for _ in range(10))) for one in some]
        assert told.count(True) > 100
        assert told.count(False) > 20
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)
        assert not versions._gathered
        assert not versions._running
        assert not versions._slow
    gc.collect()
    assert complaints == []


async def test_closing_ends_a_batch_that_has_not_begun() -> None:
    source = Source()
    async with Batcher(source.fetch) as numbers:
        waiting = asyncio.create_task(numbers.get(2))
        # The batch's task is made, and has not had its turn.
        while not numbers._running:
            await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(waiting, 30)


async def test_a_batch_is_in_the_trace_of_one_and_linked_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans, provider, source = InMemorySpanExporter(), TracerProvider(), Source()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(telemetry, "tracer", provider.get_tracer("test"))
    async with Batcher(source.fetch) as numbers:

        async def ask(key: int) -> int:
            with telemetry.tracer.start_as_current_span(f"asks for {key}") as span:
                await numbers.get(key)
                return span.get_span_context().span_id

        first, second = await asyncio.gather(ask(2), ask(4))
    batch = next(span for span in spans.get_finished_spans() if span.name == "batch")
    assert batch.parent is not None
    assert batch.parent.span_id == first
    assert [link.context.span_id for link in batch.links] == [second]


async def test_batches_are_bounded() -> None:
    source = Source()
    async with Batcher(source.fetch, batch_max=10) as numbers:
        answers = await asyncio.gather(*(numbers.get(key) for key in range(25)))
    assert [len(batch) for batch in source.batches] == [10, 10, 5]
    assert answers[24] == "24"


async def test_too_many_waiting_keys_are_refused() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch, waiting_max=2) as numbers:
        waiting = [asyncio.ensure_future(numbers.get(key)) for key in range(2)]
        await asyncio.sleep(0)
        waiting += [asyncio.ensure_future(numbers.get(key)) for key in range(2, 5)]
        refused = (await asyncio.gather(*waiting[4:], return_exceptions=True))[0]
        source.go.set()
        assert (await asyncio.gather(*waiting[:4])) == ["0", None, "2", None]
    assert isinstance(refused, Overloaded)


async def test_a_failed_batch_fails_each_and_is_forgotten() -> None:
    source = Source()
    source.fails = Unavailable("away")
    async with Batcher(source.fetch) as numbers:
        answers = await asyncio.gather(*(numbers.get(key) for key in (2, 4)), return_exceptions=True)
        assert answers == [source.fails, source.fails]
        source.fails = None
        assert await numbers.get(2) == "2"


async def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch) as numbers:
        patient = asyncio.ensure_future(numbers.get(2))
        with deadlines.within(0.01), pytest.raises(DeadlineExceeded):
            await numbers.get(2)
        source.go.set()
        assert await patient == "2"
    assert source.batches == [[2]]


async def test_a_batch_is_nobodys_call() -> None:
    source = Source()
    async with Batcher(source.fetch) as numbers:
        with caller.acting_as(Caller("gateway", "u1"), "token"):
            await numbers.get(2)
    assert source.callers == [NOBODY]


async def test_closing_fails_those_who_wait() -> None:
    source = Source(slow=True)
    async with Batcher(source.fetch, in_flight_max=1) as numbers:
        running = asyncio.ensure_future(numbers.get(2))
        await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(numbers.get(4))
        await asyncio.sleep(0)
    for call in (running, waiting):
        with pytest.raises(Unavailable):
            await call
    with pytest.raises(Unavailable):
        await numbers.get(2)
