"""Lookups gathered into batches."""

from __future__ import annotations

import asyncio
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
        if not slow:
            self.go.set()

    async def fetch(self, keys: list[int]) -> Mapping[int, str]:
        self.batches.append(keys)
        self.callers.append(caller.current())
        await self.go.wait()
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
    async with Batcher(source.fetch, in_flight_max=1) as numbers:
        first = asyncio.ensure_future(numbers.get(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(numbers.get(key)) for key in (4, 6, 2)]
        await asyncio.sleep(0.01)
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
        assert await asyncio.wait_for(numbers.get(4), 1) == "4"
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
