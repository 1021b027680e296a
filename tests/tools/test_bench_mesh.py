"""The mesh's benchmark: what it adds up, and beside what."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.mesh.load import CALLER, Call, Seen, Way, measured
from bench.mesh.plan import Plan
from bench.mesh.table import rows

TINY = Plan(rounds=2, together=4, at_once=2, alone=3)


async def test_each_way_has_its_turn_and_warms_up_first() -> None:
    opened: list[str] = []
    calls: list[str] = []

    def way(name: str, without: str | None = None) -> Way:
        @asynccontextmanager
        async def connection() -> AsyncIterator[Call]:
            opened.append(name)

            async def call() -> None:
                calls.append(name)
                await asyncio.sleep(0)

            yield call

        return Way("a call", name, connection, {CALLER: os.getpid()}, without)

    seen = await measured([way("straight"), way("by the edge", "straight")], TINY)
    turns = [name for name in ("straight", "by the edge") * 3 for _ in range(2)]
    assert opened == turns
    # One on each connection ahead, then together, then alone.
    assert len(calls) == 2 * 3 * (2 + 4 + 3)
    assert [len(one.delays_ms) for one in seen] == [2 * 3, 2 * 3]
    assert [len(one.cpu_us[CALLER]) for one in seen] == [2, 2]


def test_a_way_is_told_beside_the_one_without() -> None:
    @asynccontextmanager
    async def never() -> AsyncIterator[Call]:
        yield asyncio.Event().wait

    def seen(name: str, cpu_us: dict[str, float], delays_ms: list[float], without: str | None) -> Seen:
        found = Seen(Way("a call", name, never, dict.fromkeys(cpu_us, 0), without))
        found.add(cpu_us, delays_ms)
        return found

    straight = seen("straight", {"service": 200.0}, [1.0, 2.0, 3.0], None)
    edge = seen("by the edge", {"edge": 100.0, "service": 300.0}, [2.0, 3.0, 4.0], "straight")
    first, second = rows([straight, edge])
    assert first[:4] == ("a call", "straight", "200", "")
    assert second[:6] == ("", "by the edge", "400", "2.00", "edge 100, service 300", "3.00")
    assert second[-1] == "1.50"
