"""Whoever looks at balances: what is seen must be the state as of some record, and never an old one."""

from __future__ import annotations

from contextlib import suppress

from services.ledger.app.journal import Head
from services.ledger.app.queries import accounts
from services.ledger.domain.machine import Machine
from services.ledger.domain.views import AccountView
from tests.simulation.actors.client import TIMEOUT_S, Client
from tests.simulation.instance import NoAnswer, Reading
from tests.simulation.world import World


class Reader(Client):
    """Reads the balances of all users, from whoever answers."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "reader")

    async def run(self) -> None:
        """Until the world closes."""
        names = self.world.checker.watched

        def question(machine: Machine, _: Head) -> list[AccountView]:
            return accounts(machine, names)

        while not self.world.closing:
            await self.pause(0.05, 1.0)
            how, node = self.random.choice(list(Reading)), self.random.choice(self.world.nodes)
            floor = self.world.checker.floor
            with suppress(NoAnswer):
                seen = await self.world.network.ask(node, question, how, TIMEOUT_S)
                self.world.trace.count(f"balances read {how.name.lower()}")
                self.world.checker.read(how, floor, seen)
