"""When a queue stands, on a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio

from mesh.queueing import LOOK_EVERY_S, STANDING_S, Queue

MAX_S = 0.5


class Loop:
    """One whose turns take as long as a test says."""

    def __init__(self, turns: int = 1) -> None:
        self.now_s = 1_000.0
        self.found: list[float] = []
        self.ahead = 0
        self.queue = Queue(
            MAX_S,
            waits=self,  # type: ignore[arg-type] # it only records
            turns=turns,
            ahead=lambda: self.ahead,
            now_s=lambda: self.now_s,
        )

    def record(self, wait_s: float) -> None:
        self.found.append(wait_s)

    async def turn(self, seconds: float) -> None:
        """The loop's next, in which nobody comes."""
        self.now_s += seconds
        await asyncio.sleep(0)

    async def takes(self, seconds: float) -> bool:
        """Somebody comes; their turn is so much later. Gives whether they are refused."""
        is_refused = self.queue.stands()
        await self.turn(seconds)
        return is_refused


async def test_short_queues_refuse_nobody_however_many_come() -> None:
    loop = Loop()
    for _ in range(100):
        assert not await loop.takes(MAX_S)
    assert set(loop.found) == {MAX_S}


async def test_one_long_stop_refuses_nobody() -> None:
    """A search for garbage, or SIGSTOP: who has waited finds a long queue, once."""
    loop = Loop()
    assert not await loop.takes(60.0)
    for _ in range(10):
        assert not await loop.takes(0.01)


async def test_stops_with_short_queues_between_refuse_nobody() -> None:
    loop = Loop()
    for _ in range(20):
        assert not await loop.takes(10 * STANDING_S)
        assert not await loop.takes(0.01)


async def test_a_queue_that_stands_is_refused_and_taken_again_once_it_is_short() -> None:
    loop = Loop()
    assert not await loop.takes(2 * MAX_S)
    late_since_s = loop.now_s
    while loop.now_s < late_since_s + STANDING_S:
        assert not await loop.takes(1.01 * MAX_S)
    for _ in range(5):
        assert await loop.takes(1.01 * MAX_S)
    assert await loop.takes(MAX_S), "before it is found to be short"
    assert not await loop.takes(MAX_S)


async def test_it_is_looked_at_by_itself_as_long_as_it_is_long() -> None:
    """Nobody may come any more: all are told to stay away."""
    loop = Loop()
    await loop.takes(2 * MAX_S)
    for _ in range(3):
        await loop.turn(2 * MAX_S)
    assert loop.queue.stands()
    await loop.turn(MAX_S)
    assert not loop.queue.stands()


async def test_a_short_queue_is_not_looked_at_for_each_who_comes() -> None:
    loop = Loop()
    for _ in range(1_000):
        assert not await loop.takes(LOOK_EVERY_S / 10)
    assert 50 <= len(loop.found) <= 101


async def test_turns_with_little_to_do_between_long_ones_are_no_short_queue() -> None:
    loop = Loop(turns=4)
    for _ in range(8):
        await loop.takes(0.0)
        await loop.takes(0.0)
        await loop.takes(1.2 * MAX_S)
    assert await loop.takes(0.0)
    for _ in range(8):
        refused = await loop.takes(MAX_S / 4)
    assert not refused


async def test_who_waits_before_the_loop_counts_in_turns() -> None:
    """Each of them short, and forty to go."""
    loop = Loop(turns=4)
    loop.ahead = 40
    for _ in range(200):
        refused = await loop.takes(MAX_S / 20)
    assert refused
    assert max(loop.found) < 4 * MAX_S
    loop.ahead = 4
    for _ in range(8):
        refused = await loop.takes(MAX_S / 20)
    assert not refused
