"""Whoever sends what can never be right: for each the reason is known beforehand, and nothing comes of it."""

from __future__ import annotations

from collections.abc import Callable

from satreel.ledger.v1 import ledger_pb2 as pb

from services.ledger.app.orders import Order
from services.ledger.domain.books import CHAIN_COINS, INT64_MAX, SAT, user_account
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.sessions import Report
from tests.simulation import orders
from tests.simulation.actors.client import Client, reasons
from tests.simulation.world import World

LINKED = Reason.LINKED_TRANSFER_FAILED


class Hostile(Client):
    """Tries everything that is forbidden, again and again."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "hostile")
        self._tricks: list[Callable[[], tuple[list[pb.Transfer], list[Reason]]]] = [
            self._nothing, self._to_itself, self._unissued, self._forbidden, self._too_much, self._open_chain,
            self._broken_chain, self._twice_in_a_chain, self._done_before_in_a_chain, self._unknown_hold,
            self._overflow, self._own_id_again,
        ]  # fmt: skip

    async def run(self) -> None:
        """Until the world closes."""
        while not self.world.closing:
            await self.pause(0.2, 2.0)
            if self.random.random() < 0.75:
                await self._transfers()
            else:
                await self.random.choice(
                    (
                        self._reversal,
                        self._session,
                        self._report,
                        self._round,
                        self._deposit,
                        self._closed_later,
                    )
                )()

    async def _transfers(self) -> None:
        trick = self.random.choice(self._tricks)
        asked, wanted = trick()
        caller = "chain" if trick == self._overflow else "market"
        got = reasons(await self.transfer(caller, *asked))
        self.world.trace.count(f"hostile: {trick.__name__.strip('_')}")
        if sorted(got) != sorted(wanted):
            self.world.fail(f"{trick.__name__} got {got}, not {wanted}")

    def _post(self, amount: int = 1, *, to: str = "", asset: str = SAT, linked: bool = False) -> pb.Transfer:
        giver, taker = self.random.sample(self.world.users, 2)
        return pb.Transfer(
            id=self.world.new_id(),
            kind=pb.TRANSFER_KIND_POST,
            debit_account=user_account(giver),
            credit_account=to or user_account(taker),
            asset=asset,
            amount=amount,
            linked=linked,
            memo="hostile",
        )

    def _nothing(self) -> tuple[list[pb.Transfer], list[Reason]]:
        return [self._post(self.random.choice((0, -1, -INT64_MAX)))], [Reason.AMOUNT_NOT_POSITIVE]

    def _to_itself(self) -> tuple[list[pb.Transfer], list[Reason]]:
        transfer = self._post()
        transfer.credit_account = transfer.debit_account
        return [transfer], [Reason.SAME_ACCOUNT]

    def _unissued(self) -> tuple[list[pb.Transfer], list[Reason]]:
        asset = self.random.choice(("title:nothing", "gold", ""))
        return [self._post(asset=asset)], [Reason.ASSET_MISMATCH]

    def _forbidden(self) -> tuple[list[pb.Transfer], list[Reason]]:
        to = self.random.choice(
            ("debts", "pool:carried", "chain:coins", "platform:float", "nonsense", "USER:x")
        )
        return [self._post(to=to)], [Reason.ACCOUNT_FORBIDDEN]

    def _too_much(self) -> tuple[list[pb.Transfer], list[Reason]]:
        transfer = self._post(self.random.choice((10**9, INT64_MAX)))
        transfer.debit_account = user_account(self.world.new_id())
        return [transfer], [Reason.INSUFFICIENT_FUNDS]

    def _open_chain(self) -> tuple[list[pb.Transfer], list[Reason]]:
        asked = [self._post(linked=True) for _ in range(self.random.randint(1, 5))]
        return asked, [*[LINKED] * (len(asked) - 1), Reason.LINKED_CHAIN_OPEN]

    def _broken_chain(self) -> tuple[list[pb.Transfer], list[Reason]]:
        poor = user_account(self.world.new_id())
        asked = [self._post(linked=True), self._post(linked=True), self._post()]
        for transfer in asked:
            transfer.debit_account = poor
        return asked, [Reason.INSUFFICIENT_FUNDS, LINKED, LINKED]

    def _twice_in_a_chain(self) -> tuple[list[pb.Transfer], list[Reason]]:
        first, second = self._post(linked=True), self._post()
        second.id = first.id
        return [first, second], [LINKED, Reason.ID_REUSED]

    def _done_before_in_a_chain(self) -> tuple[list[pb.Transfer], list[Reason]]:
        again, wanted = self._own_id_again()
        if wanted != [Reason.ID_REUSED]:
            return again, wanted
        return [self._post(linked=True), *again], [LINKED, *wanted]

    def _unknown_hold(self) -> tuple[list[pb.Transfer], list[Reason]]:
        kind = self.random.choice((pb.TRANSFER_KIND_POST_HOLD, pb.TRANSFER_KIND_VOID_HOLD))
        return [pb.Transfer(id=self.world.new_id(), kind=kind, hold_id=self.world.new_id())], [
            Reason.HOLD_NOT_FOUND
        ]

    def _overflow(self) -> tuple[list[pb.Transfer], list[Reason]]:
        """Twice as much as the coins account could ever give."""
        asked = [self._post(INT64_MAX, linked=True), self._post(INT64_MAX)]
        for transfer in asked:
            transfer.debit_account = CHAIN_COINS
        return asked, [Reason.OVERFLOW, LINKED]

    def _own_id_again(self) -> tuple[list[pb.Transfer], list[Reason]]:
        """The id of what was done before, for more."""
        done = list(self.world.expected.moves.items())
        if not done:
            return self._nothing()
        id_, _ = self.random.choice(done)
        again = self._post(INT64_MAX)
        again.id = id_
        return [again], [Reason.ID_REUSED]

    async def _closed_later(self) -> None:
        """A chain without an end, and then the same ids with one: what was refused stays refused."""
        asked, wanted = self._open_chain()
        for transfer in asked:
            transfer.amount = 1
        if sorted(reasons(await self.transfer("market", *asked))) != sorted(wanted):
            self.world.fail("an open chain was not refused")
        asked[-1].linked = False
        got = reasons(await self.transfer("market", *asked))
        self.world.trace.count("hostile: closed_later")
        if set(got) != {Reason.ID_REUSED}:
            self.world.fail(f"a chain that was closed later got {got}")

    async def _reversal(self) -> None:
        order = orders.reverse(self.world.new_id(), self.world.new_id(), "nothing of the kind")
        await self._refused(order, Reason.DEPOSIT_NOT_FOUND)

    async def _session(self) -> None:
        await self._refused(orders.close_session(self.world.new_id(), self.user()), Reason.SESSION_NOT_FOUND)

    async def _round(self) -> None:
        tried = orders.lock_round, lambda id_: orders.void_round(id_, "for fun")
        order = self.random.choice((*tried, lambda id_: orders.distribute_pool(id_, [])))(self.world.new_id())
        await self._refused(order, Reason.ROUND_NOT_FOUND)

    async def _deposit(self) -> None:
        """To an account that takes none, together with a good one: all or none."""
        deposits = [
            pb.Deposit(
                id=self.world.new_id(),
                user_id=user_id,
                amount_sats=amount,
                txid=self.world.hex64(),
                block_hash=self.world.hex64(),
            )
            for user_id, amount in ((self.user(), INT64_MAX), (self.user(), INT64_MAX))
        ]
        await self._refused(orders.credit(deposits), Reason.OVERFLOW)

    async def _report(self) -> None:
        session_id = self.world.new_id()
        report: Report = await self.granted(orders.report({session_id: 5}))
        if [receipt.reason for receipt in report.receipts] != [Reason.SESSION_NOT_FOUND]:
            self.world.fail(f"a report of an unknown session got {report}")

    async def _refused(self, order: Order, reason: Reason) -> None:
        outcome = await self.sure(order)
        self.world.trace.count(f"hostile: {reason.name}")
        if not isinstance(outcome, Refused) or outcome.number is not reason:
            self.world.fail(f"got {outcome!r}, not {reason.name}, for {order.command!r}")
