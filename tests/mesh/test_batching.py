"""Lookups gathered into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from mesh import caller, deadlines
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
    assert source.batches == [[2], [4, 6]]


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
