"""Whoever gives wrong commands about what is there: rounds, sessions, holds, titles, deposits of others."""

from __future__ import annotations

from satreel.ledger.v1 import ledger_pb2 as pb

from services.ledger.app.orders import Order
from services.ledger.domain.books import SAT, user_account
from services.ledger.domain.reasons import Reason, Refused
from tests.simulation import orders
from tests.simulation.actors.client import Client, reasons
from tests.simulation.actors.rounds import RoundsService
from tests.simulation.world import World

NO_SUCH_ROUND = {Reason.ROUND_NOT_ACTIVE, Reason.ROUND_VOIDED, Reason.RANKING_MISMATCH, Reason.ID_REUSED}


class Vandal(Client):
    """Each trick has reasons for which it must be refused, by what the others are doing at that moment."""

    def __init__(self, world: World, rounds: RoundsService) -> None:
        super().__init__(world, "vandal")
        self._rounds = rounds

    async def run(self) -> None:
        """Until the world closes."""
        tricks = (
            self._holds,
            self._round,
            self._ranking,
            self._void,
            self._title,
            self._session,
            self._deposit,
        )
        while not self.world.closing:
            await self.pause(0.3, 3.0)
            if self._rounds.begun:
                await self.random.choice(tricks)()

    async def _holds(self) -> None:
        """A hold that is exceeded, then ended twice."""
        giver, taker = self.random.sample(self.world.users, 2)
        hold = pb.Transfer(
            id=self.world.new_id(),
            kind=pb.TRANSFER_KIND_HOLD,
            debit_account=user_account(giver),
            credit_account=user_account(taker),
            asset=SAT,
            amount=1,
            memo="vandal",
        )
        if reasons(await self.transfer("market", hold)) != [Reason.OK]:
            return
        for kind, amount, wanted in (
            (pb.TRANSFER_KIND_POST_HOLD, 2, Reason.HOLD_EXCEEDED),
            (pb.TRANSFER_KIND_VOID_HOLD, 0, Reason.OK),
            (pb.TRANSFER_KIND_POST_HOLD, 1, Reason.HOLD_CLOSED),
            (pb.TRANSFER_KIND_VOID_HOLD, 0, Reason.HOLD_CLOSED),
        ):
            end = pb.Transfer(id=self.world.new_id(), kind=kind, hold_id=hold.id, amount=amount)
            got = reasons(await self.transfer("market", end))
            if got != [wanted]:
                self.world.fail(f"a hold's end got {got}, not {wanted.name}")

    async def _round(self) -> None:
        """One that ends before it begins."""
        now_ns, (meme_id, creator_id) = self.world.now_ns(), next(iter(self.world.memes.items()))
        entry = pb.RoundEntry(meme_id=meme_id, creator_id=creator_id, quality_ppm=1)
        order = orders.open_round(self.world.new_id(), self._rounds.rates(), now_ns, now_ns - 1, [entry])
        await self._refused(order, {Reason.ROUND_INVALID, Reason.ROUND_OVERLAP})

    async def _ranking(self) -> None:
        order = orders.distribute_pool(self._rounds.begun[-1], [self.world.new_id()])
        await self._refused(order, NO_SUCH_ROUND)

    async def _void(self) -> None:
        paid = [played.round_id for played in self._rounds.played if not played.void]
        if paid:
            await self._refused(
                orders.void_round(self.random.choice(paid), "too late"), {Reason.ROUND_NOT_ACTIVE}
            )

    async def _title(self) -> None:
        meme_id = self.random.choice(list(self.world.memes))
        await self._refused(orders.issue_title(meme_id, self.world.new_id()), {Reason.TITLE_ALREADY_ISSUED})

    async def _session(self) -> None:
        order = orders.open_session(self.world.new_id(), self.user(), self.world.new_id(), 1)
        await self._refused(order, {Reason.ROUND_NOT_ACTIVE, Reason.NOT_AN_ENTRY})

    async def _deposit(self) -> None:
        """The id of one that was made, for more; together with a good one: all or none."""
        if not self.world.expected.deposits:
            return
        again, good = pb.Deposit(), pb.Deposit()
        for copy in (again, good):
            copy.CopyFrom(self.random.choice(self.world.expected.deposits))
        again.amount_sats += 1
        good.id, good.txid = self.world.new_id(), self.world.hex64()
        await self._refused(orders.credit([good, again]), {Reason.ID_REUSED})

    async def _refused(self, order: Order, wanted: set[Reason]) -> None:
        outcome = await self.sure(order)
        if not isinstance(outcome, Refused) or outcome.number not in wanted:
            self.world.fail(f"got {outcome!r}, none of {wanted}, for {order.command!r}")
            return
        self.world.trace.count(f"hostile: {outcome.reason}")
