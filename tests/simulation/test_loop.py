"""Virtual time and processes; and that a seed is the same run every time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.run import simulate

SEED = 5


async def ticks(loop: VirtualLoop, seen: list[float], count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(1)
        seen.append(loop.time())


def test_time_jumps() -> None:
    loop, seen = VirtualLoop(), list[float]()
    loop.run_until_complete(ticks(loop, seen, 3))
    loop.close()
    assert seen == [1.0, 2.0, 3.0]


def test_a_frozen_process_goes_on_later_and_in_order() -> None:
    loop, process, seen = VirtualLoop(), Process("frozen"), list[float]()
    task = loop.spawn(process, ticks(loop, seen, 3), "ticks")
    loop.outside(1.5, lambda: setattr(process, "frozen", True))
    loop.outside(9.0, lambda: loop.thaw(process))
    loop.run_until_complete(task)
    loop.close()
    assert seen == [1.0, 9.0, 10.0]


def test_a_process_stops_behind_a_number_of_steps() -> None:
    loop, process, stopped = VirtualLoop(), Process("fused"), list[float]()
    task = loop.spawn(process, ticks(loop, [], 3), "ticks")

    def act() -> None:
        stopped.append(loop.time())
        loop.thaw(process)

    # The task's first step; the timer that ends its first sleep.
    process.after_steps(2, act)
    loop.run_until_complete(task)
    loop.close()
    assert stopped == [1.0]


def test_what_was_cancelled_while_frozen_does_not_run() -> None:
    loop, process, ran = VirtualLoop(), Process("frozen"), list[str]()

    async def start() -> asyncio.TimerHandle:
        return loop.call_later(1, ran.append, "late")

    handle = loop.run_until_complete(loop.spawn(process, start(), "start"))
    process.frozen = True
    loop.outside(2, handle.cancel)
    loop.outside(3, loop.thaw, process)
    loop.run_until_complete(asyncio.sleep(4))
    loop.close()
    assert ran == []


def test_a_seed_is_the_same_run_every_time() -> None:
    here = simulate(SEED)
    simulate(SEED + 1)
    assert simulate(SEED) == here
    script = f"from tests.simulation.run import simulate; print(simulate({SEED}).digest)"
    other = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == here.digest
