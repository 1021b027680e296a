"""The chain service: credits what is confirmed, takes back what a reorganisation undid, pays withdrawals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from satreel.ledger.v1 import ledger_pb2 as pb

from services.ledger.domain.books import CHAIN_COINS, FLOAT, SAT, user_account
from services.ledger.domain.deposits import Reversal
from services.ledger.domain.reasons import Reason
from tests.simulation import orders
from tests.simulation.actors.blockchain import DEPTHS, Blockchain, Payment
from tests.simulation.actors.client import Client, reasons
from tests.simulation.world import World

CREDITS_MAX = 5


@dataclass(slots=True)
class Credit:
    """A payment and what the ledger was told of it."""

    payment: Payment
    deposit: pb.Deposit | None = None
    used: list[pb.Deposit] = field(default_factory=list)


class ChainService(Client):
    """Follows a blockchain of its own."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "chain")
        self.blockchain = Blockchain(self.random, world.hex64)
        self._credits: list[Credit] = []

    async def run(self) -> None:
        """Until the world closes, all payments are settled and all withdrawals ended."""
        for user_id in self.world.users:
            self.blockchain.pay(user_id, self.random.choice((50, 300, 2_000, 9_000)))
        self.blockchain.pay(FLOAT, 1_000)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle_forever())
            while not self.world.closing:
                self._next_block()
                if self.random.random() < 0.4:
                    self.begin(tasks, self._withdraw)
                await self.pause(0.5, 4.0)

    def standing_sats(self) -> int:
        """What the ledger was told and was not told to undo."""
        return sum(credit.deposit.amount_sats for credit in self._credits if credit.deposit is not None)

    def _next_block(self) -> None:
        chain = self.blockchain
        if self.random.random() < 0.5:
            chain.pay(self.random.choice((*self.world.users, FLOAT)), self.random.randint(1, 2_000))
        if self.random.random() < 0.2:
            depth = self.random.choice(DEPTHS)
            self.world.trace.count(f"reorganisations of depth {depth}")
            self.world.trace.note("chain", f"reorganisation of depth {depth}")
            self.world.trace.count("double spends", chain.reorganise(depth))
        else:
            chain.mine()

    async def _settle_forever(self) -> None:
        while True:
            known = len(self._credits)
            self._credits += [Credit(payment) for payment in self.blockchain.payments[known:]]
            for credit in self._credits:
                if credit.deposit is not None and credit.deposit.block_hash != credit.payment.block:
                    await self._reverse(credit, credit.deposit)
            due = [one for one in self._credits if one.deposit is None and one.payment.block is not None]
            if due:
                await self._credit(due[:CREDITS_MAX])
            elif self.world.closing:
                return
            else:
                await self.pause(0.05, 0.5)

    async def _credit(self, due: list[Credit]) -> None:
        deposits = [self._deposit(credit) for credit in due]
        await self.granted(orders.credit(deposits))
        for credit, deposit in zip(due, deposits, strict=True):
            credit.deposit = deposit
            credit.used.append(deposit)
            self.world.expected.credited(deposit)

    def _deposit(self, credit: Credit) -> pb.Deposit:
        """Under a fresh id; or under the one before, as its contract allows for another block."""
        payment, before = credit.payment, [deposit.block_hash for deposit in credit.used]
        again = bool(before) and payment.block not in before and self.random.random() < 0.5
        return pb.Deposit(
            id=credit.used[-1].id if again else self.world.new_id(),
            user_id=payment.user_id,
            amount_sats=payment.sats,
            txid=payment.txid,
            vout=payment.vout,
            block_hash=payment.block or "",
        )

    async def _reverse(self, credit: Credit, deposit: pb.Deposit) -> None:
        order = orders.reverse(self.world.new_id(), deposit.id, "its block was orphaned")
        self.world.checker.keep_equal(order)
        reversal: Reversal = await self.granted(order)
        if reversal.taken_sats + reversal.debt_sats != deposit.amount_sats:
            self.world.fail(f"a reversal of {deposit.amount_sats} sat did {reversal!r}")
        self.world.trace.count("deposits reversed")
        self.world.trace.count("debts", reversal.debt_sats > 0)
        credit.deposit = None
        self.world.expected.reversed(deposit)

    async def _withdraw(self) -> None:
        account = self.random.choice((*map(user_account, self.world.users), FLOAT))
        hold = pb.Transfer(
            id=self.world.new_id(),
            kind=pb.TRANSFER_KIND_HOLD,
            debit_account=account,
            credit_account=CHAIN_COINS,
            asset=SAT,
            amount=self.random.randint(1, 400),
            memo="withdrawal",
        )
        if reasons(await self.transfer("chain", hold)) != [Reason.OK]:
            return
        await self.pause(0.1, 5.0)
        end = pb.Transfer(id=self.world.new_id(), hold_id=hold.id)
        if self.random.random() < 0.25:
            end.kind = pb.TRANSFER_KIND_VOID_HOLD
        else:
            end.kind = pb.TRANSFER_KIND_POST_HOLD
            end.amount = self.random.choice((0, hold.amount, self.random.randint(1, hold.amount)))
        ended = reasons(await self.transfer("chain", end))
        self.world.trace.count(f"withdrawals: {pb.TransferKind.Name(end.kind)}")
        if ended != [Reason.OK]:
            self.world.fail(f"a withdrawal's hold could not be ended: {ended}")
