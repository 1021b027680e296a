"""Of streams of one viewing at several gateways the one that asked last has it; over a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from graphql_gateway.live import takeovers
from graphql_gateway.live.meter import AlreadyWatching, Meter, Seat
from graphql_gateway.live.takeovers import Takeovers
from mesh.clock import SystemClock
from mesh.ids import uuid7
from tests.conftest import ValkeyServer
from tests.gateway.client import WAIT_S
from tests.gateway.world import until


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine Redis may be slow, and is not away."""
    monkeypatch.setattr(takeovers, "TELL_S", WAIT_S)


class Gateway:
    """What of one concerns viewings."""

    def __init__(self, redis_url: str) -> None:
        # Nothing is reported.
        self.meter = Meter(cast("LedgerServiceStub", None), SystemClock())
        self.takeovers = Takeovers(redis_url, SystemClock(), self.meter)
        self._stack = AsyncExitStack()

    async def watch(self, viewing: str) -> Seat:
        """Begins it, or takes it up."""
        seat = self._stack.enter_context(self.meter.seat(ledger_pb2.Session(id=viewing)))
        await self.takeovers.tell(seat)
        return seat


@asynccontextmanager
async def gateways(redis_url: str, count: int) -> AsyncIterator[list[Gateway]]:
    made = [Gateway(redis_url) for _ in range(count)]
    tasks = [asyncio.create_task(one.takeovers.run()) for one in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ended(seat: Seat) -> bool:
    """Whether its stream is told so: nothing else is told here."""
    try:
        return await seat.receipt(WAIT_S) is not None
    except AlreadyWatching:
        return True


async def test_the_gateway_that_asked_last_has_it(valkey_url: str) -> None:
    viewing, other = uuid7(), uuid7()
    async with gateways(valkey_url, 2) as (one, two):
        first, beside = await one.watch(viewing), await one.watch(other)
        second = await two.watch(viewing)
        assert await ended(first)
        # And back again, as when a client comes back twice.
        third = await one.watch(viewing)
        assert await ended(second)
        assert not third.is_taken_over
        assert not beside.is_taken_over


async def test_of_many_that_ask_at_once_one_has_it(valkey_url: str) -> None:
    async with gateways(valkey_url, 4) as several:
        for _ in range(10):
            viewing = uuid7()
            seats = await asyncio.gather(*(one.watch(viewing) for one in several for _ in range(2)))
            await until(lambda found=seats: sum(not seat.is_taken_over for seat in found) == 1)  # type: ignore[misc]


async def test_a_gateway_that_starts_later_hears_what_concerns_it(valkey_url: str) -> None:
    viewing = uuid7()
    async with gateways(valkey_url, 1) as [one]:
        first = await one.watch(viewing)
        async with gateways(valkey_url, 1) as [late]:
            second = await late.watch(viewing)
            assert await ended(first)
            # What it reads of the time before it began takes nothing from it.
            assert not await ended_soon(second)


async def ended_soon(seat: Seat) -> bool:
    await asyncio.sleep(0.2)
    return seat.is_taken_over


async def test_while_redis_is_away_nobody_waits_and_later_it_goes_on(
    own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewing, another = uuid7(), uuid7()
    async with gateways(own_valkey.url, 2) as (one, two):
        before = await one.watch(another)
        own_valkey.kill()
        with monkeypatch.context() as impatient:
            impatient.setattr(takeovers, "TELL_S", 0.25)
            async with asyncio.timeout(WAIT_S / 2):
                first = await one.watch(viewing)
                again = await one.watch(viewing)
        assert first.is_taken_over
        own_valkey.start()
        second, later = await two.watch(viewing), await two.watch(another)
        assert await ended(again)
        assert await ended(before)
        assert not second.is_taken_over
        assert not later.is_taken_over
