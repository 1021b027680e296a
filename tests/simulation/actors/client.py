"""What all clients do: repeat until answered, and keep books of what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from satreel.ledger.v1 import ledger_pb2 as pb

from services.ledger.app.orders import Order
from services.ledger.domain.answers import Result
from services.ledger.domain.reasons import Reason, Refused
from tests.simulation import orders
from tests.simulation.instance import NoAnswer, Outcome
from tests.simulation.world import World

TIMEOUT_S = 2.0
PAUSE_S_MAX = 0.5
UNDER_WAY_MAX = 5
# Tries that go to an instance that may not lead any more.
STRAY = 0.15


class Client:
    """A client of the ledger. It knows the instances and asks the one that answered last."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.random = world.random
        self.name = name
        self._node = self.random.choice(world.nodes)
        self._under_way = 0

    async def once(self, order: Order) -> Outcome:
        """One try. Raises NoAnswer."""
        if self.random.random() < STRAY:
            self._node = self.random.choice(self.world.nodes)
        try:
            return await self.world.network.submit(self._node, order, TIMEOUT_S)
        except NoAnswer:
            self._node = self.random.choice(self.world.nodes)
            raise

    async def sure(self, order: Order) -> Outcome:
        """Repeats until answered."""
        while True:
            try:
                return await self.once(order)
            except NoAnswer:
                self.world.trace.count("tries without an answer")
                await asyncio.sleep(self.random.uniform(0.02, PAUSE_S_MAX))

    async def granted(self, order: Order) -> Any:
        """Repeats until answered. A refusal is a fault of the ledger."""
        outcome = await self.sure(order)
        if isinstance(outcome, Refused):
            self.world.fail(
                f"{self.name} was refused {outcome.reason} ({outcome.message}): {order.command!r}"
            )
        return outcome

    async def transfer(self, caller: str, *asked: pb.Transfer) -> list[Result]:
        """Repeats until answered, and keeps books of what was done. Chains were done whole or not at all."""
        order = orders.transfers(caller, asked)
        self.world.checker.keep_equal(order)
        results: list[Result] = await self.granted(order)
        self.world.expected.transferred(asked, results)
        return results

    def begin(self, tasks: asyncio.TaskGroup, work: Callable[[], Awaitable[None]]) -> None:
        """Begins something more, unless too much is under way already."""

        async def counted() -> None:
            self._under_way += 1
            try:
                await work()
            finally:
                self._under_way -= 1

        if self._under_way < UNDER_WAY_MAX:
            tasks.create_task(counted())

    async def pause(self, shortest_s: float, longest_s: float) -> None:
        """Does nothing for a while."""
        await asyncio.sleep(self.random.uniform(shortest_s, longest_s))

    def user(self) -> str:
        """Anyone."""
        return self.random.choice(self.world.users)


def reasons(results: Sequence[Result]) -> list[Reason]:
    """Why each transfer was refused, or OK."""
    return [result.reason for result in results]
