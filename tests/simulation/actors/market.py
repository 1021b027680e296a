"""The market: sales as linked chains, money and title together; offers that hold money and expire."""

from __future__ import annotations

import asyncio

from satreel.ledger.v1 import ledger_pb2 as pb

from services.ledger.domain.books import FEE, SAT, TITLE_PREFIX, user_account
from services.ledger.domain.reasons import Reason
from tests.simulation.actors.client import Client, reasons
from tests.simulation.world import World


class Market(Client):
    """Sells memes among the users."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "market")
        # As far as the market knows: two sales of one title may be under way.
        self._owners = dict(world.memes)

    async def run(self) -> None:
        """Until the world closes and all has been answered."""
        async with asyncio.TaskGroup() as tasks:
            while not self.world.closing:
                await self.pause(0.2, 2.5)
                self.begin(tasks, self._sell if self.random.random() < 0.6 else self._offer)

    async def _sell(self) -> None:
        meme_id = self.random.choice(list(self.world.memes))
        seller, buyer = self._owners[meme_id], self.user()
        price = self.random.randint(1, 300)
        legs = [
            (buyer, user_account(seller), price, SAT),
            (seller, user_account(buyer), 1, TITLE_PREFIX + meme_id),
        ]
        if price > 50:
            legs.insert(1, (buyer, FEE, price // 50, SAT))
        asked = [
            pb.Transfer(
                id=self.world.new_id(),
                kind=pb.TRANSFER_KIND_POST,
                debit_account=user_account(payer),
                credit_account=payee,
                asset=asset,
                amount=amount,
                linked=place + 1 < len(legs),
                memo="sale",
            )
            for place, (payer, payee, amount, asset) in enumerate(legs)
        ]
        results = reasons(await self.transfer("market", *asked))
        if results.count(Reason.OK) not in (0, len(asked)):
            self.world.fail(f"half a sale: {results}")
        if results[0] is Reason.OK:
            self.world.trace.count("sales")
            self._owners[meme_id] = buyer

    async def _offer(self) -> None:
        hold = pb.Transfer(
            id=self.world.new_id(),
            kind=pb.TRANSFER_KIND_HOLD,
            debit_account=user_account(self.user()),
            credit_account=user_account(self.user()),
            asset=SAT,
            amount=self.random.randint(1, 100),
            hold_expires_s=self.random.randint(1, 5),
            memo="offer",
        )
        if reasons(await self.transfer("market", hold)) != [Reason.OK]:
            return
        await self.pause(0.1, 6.0)
        kind = self.random.choice((pb.TRANSFER_KIND_POST_HOLD, pb.TRANSFER_KIND_VOID_HOLD))
        ended = reasons(
            await self.transfer("market", pb.Transfer(id=self.world.new_id(), kind=kind, hold_id=hold.id))
        )
        self.world.trace.count(f"offers: {ended[0].name}")
        if ended[0] not in (Reason.OK, Reason.HOLD_CLOSED):
            self.world.fail(f"an offer's hold ended with {ended}")
