"""What comes back long after: copies of old requests, their ids behind the horizon. None may do anything."""

from __future__ import annotations

from satreel.ledger.v1 import ledger_pb2 as pb

from services.ledger.app.orders import Order
from services.ledger.domain.books import SAT, user_account
from services.ledger.domain.commands import CreateTransfers, PostTransfers
from services.ledger.domain.reasons import Reason
from tests.simulation.actors.client import Client, reasons
from tests.simulation.instance import order_of
from tests.simulation.world import World

LATER_S = 2.5 * 86_400
COPIES = 25


class Echo(Client):
    """Sends copies of what was answered before, after days have passed in which nobody did anything."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "echo")

    async def run(self) -> None:
        """Once everybody else is done."""
        checker, before = self.world.checker, len(self.world.checker.postings)
        old = self.random.sample(list(checker.acknowledged), min(COPIES, len(checker.acknowledged)))
        self.world.days_pass(LATER_S)
        checker.forget_equal()
        for wire in old:
            await self._send(order_of(wire))
        if len(checker.postings) != before:
            self.world.fail(f"copies of old requests made {checker.postings[before:]!r}")
        await self._too_new()

    async def _send(self, order: Order) -> None:
        outcome = await self.sure(order)
        self.world.trace.count("copies of old requests")
        if isinstance(order.command, CreateTransfers | PostTransfers) and isinstance(outcome, list):
            got = reasons(outcome)
            self.world.trace.count("old ids refused", got.count(Reason.ID_OUT_OF_TIME))
            if Reason.OK in got:
                self.world.fail(f"days later, {order.command!r} got {got}")

    async def _too_new(self) -> None:
        """An id from the future."""
        giver, taker = self.random.sample(self.world.users, 2)
        transfer = pb.Transfer(
            id=self.world.new_id(ahead_s=LATER_S),
            kind=pb.TRANSFER_KIND_POST,
            debit_account=user_account(giver),
            credit_account=user_account(taker),
            asset=SAT,
            amount=1,
            memo="echo",
        )
        got = reasons(await self.transfer("market", transfer))
        if got != [Reason.ID_OUT_OF_TIME]:
            self.world.fail(f"an id from the future got {got}")
