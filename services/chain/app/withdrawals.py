"""Withdrawals and payouts that are queued: paid in batches, posted when mined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from mesh import logs
from services.chain.app.books import Books
from services.chain.app.holds import hold_of, post_of, shares_of, undo_of
from services.chain.app.orders import Order
from services.chain.app.ports import Ledger
from services.chain.app.records import Kept
from services.chain.app.wallet import Wallet
from services.chain.app.withdrawal_queue import HIDDEN, WithdrawalQueue
from services.chain.domain.addresses import key_hash_of
from services.chain.domain.entities import NO_PLAN, NO_TXID, Tx, Withdrawal
from services.chain.domain.failures import WalletEmpty, WithdrawalNotFound
from services.chain.domain.scripts import p2pkh
from services.chain.domain.spending import OUTPUTS_MAX
from services.chain.domain.states import WITHDRAWAL, WithdrawalState, check
from services.chain.domain.values import Network, PlanId, Purpose, Sats, UserId
from services.chain.domain.wire import Output

log = logs.logger(__name__)

ATTEMPTS_MAX = 3


class Withdrawals:
    """Coins on their way out."""

    def __init__(
        self, *, books: Books, queue: WithdrawalQueue, wallet: Wallet, ledger: Ledger, network: Network
    ) -> None:
        self._books = books
        self._queue = queue
        self._wallet = wallet
        self._ledger = ledger
        self._network = network

    async def recover(self) -> None:
        """Goes on with everything that was under way."""
        for kept in await self._queue.table.where("state", WithdrawalState.QUEUED):
            self._queue.waiting[kept.value.id] = kept
        for kept in await self._queue.table.where("state", WithdrawalState.ASSIGNED):
            await self._reassign(kept)
        # A lost write of the store may show as queued what a transaction pays: the transaction is right.
        for tx in self._books.live():
            if tx.purpose is Purpose.WITHDRAWAL:
                await self.signed(tx)

    @property
    def queued(self) -> int:
        """How many wait for the next batch."""
        return len(self._queue.waiting)

    async def batch(self) -> Tx | None:
        """Pays up to OUTPUTS_MAX of the queue with one transaction; None when it cannot now.

        The oldest first. If the coins do not do for the oldest, the smallest are paid: a large withdrawal
        that waits for coins keeps nobody else waiting.
        """
        by_age = [] if self._wallet.frozen else list(self._queue.waiting.values())
        by_size = sorted(by_age, key=lambda kept: kept.value.amount_sats)
        for waiting in (by_age, by_size):
            size = min(len(waiting), OUTPUTS_MAX)
            while size:
                try:
                    return await self._wallet.make(self._order(waiting[:size]))
                except WalletEmpty as empty:
                    # Perhaps the coins do for some of them.
                    log.warning("withdrawals wait for coins", queued=self.queued, **empty.metadata)
                    size //= 2
        return None

    def _order(self, batch: Sequence[Kept[Withdrawal]]) -> Order:
        return Order(
            Purpose.WITHDRAWAL,
            jobs=tuple(kept.value.id for kept in batch),
            outputs=tuple(
                Output(kept.value.amount_sats, p2pkh(key_hash_of(kept.value.address, self._network)))
                for kept in batch
            ),
            assign=partial(self._assign, batch),
            share=partial(shares_of, [kept.value for kept in batch]),
        )

    async def _assign(self, batch: Sequence[Kept[Withdrawal]], plan: PlanId) -> None:
        changes = [(kept, replace(kept.value, state=WithdrawalState.ASSIGNED, plan=plan)) for kept in batch]
        for written in await self._queue.table.put_all(changes):
            self._queue.waiting.pop(written.value.id, None)

    async def _reassign(self, kept: Kept[Withdrawal]) -> None:
        """After a crash: back to the queue, unless its transaction was signed."""
        if await self._wallet.settled(kept.value.plan) is None:
            after = await self._queue.put(kept, WithdrawalState.QUEUED)
            self._queue.waiting[after.value.id] = after

    async def signed(self, tx: Tx) -> None:
        """Each has a transaction now."""
        found = await self._queue.table.get_many(tx.jobs)
        for job, share in zip(tx.jobs, tx.shares, strict=True):
            kept = found[job]
            if kept.value.state not in (WithdrawalState.QUEUED, WithdrawalState.ASSIGNED):
                continue
            assigned = replace(kept.value, state=WithdrawalState.ASSIGNED, plan=tx.plan)
            after = replace(assigned, state=WithdrawalState.SENT, txid=tx.txid, share_sats=Sats(share))
            await self._queue.table.put(kept, after)
            self._queue.waiting.pop(job, None)
            self._queue.tell(after, tx)

    async def mined(self, tx: Tx) -> None:
        """Posts what each cost, releases the rest, and confirms. The caller holds `settling`."""
        found = await self._queue.table.get_many(tx.jobs)
        sent = [kept for kept in found.values() if kept.value.state is WithdrawalState.SENT]
        due = [kept.value for kept in sent if not kept.value.posted]
        if due:
            for one, refusal in zip(
                due, await self._ledger.move([post_of(w, tx.created_ns) for w in due]), strict=True
            ):
                if refusal is not None:
                    log.error("hold not posted", withdrawal=one.id, detail=refusal.detail)
        for kept in sent:
            after = replace(kept.value, state=WithdrawalState.CONFIRMED, posted=True)
            await self._queue.table.put(kept, after)
            self._queue.tell(after, tx)

    async def unmined(self, tx: Tx) -> None:
        """Their block was orphaned; they stay paid by the same transaction."""
        for kept in (await self._queue.table.get_many(tx.jobs)).values():
            if kept.value.state is WithdrawalState.CONFIRMED:
                after = await self._queue.put(kept, WithdrawalState.SENT)
                self._queue.tell(after.value, tx)

    async def rejected(self, tx: Tx) -> None:
        """Their transaction can never be mined: queued again, given up after ATTEMPTS_MAX."""
        for kept in (await self._queue.table.get_many(tx.jobs)).values():
            if kept.value.state is WithdrawalState.SENT and kept.value.plan == tx.plan:
                await self._requeue(kept, attempts=kept.value.attempts + 1, at_ns=tx.created_ns)

    async def reconsider(self, user_id: UserId) -> None:
        """A deposit of the user was undone: what is queued is held anew. The caller holds `settling`."""
        async with self._queue.asking:
            for kept in [one for one in self._queue.waiting.values() if one.value.user_id == user_id]:
                await self._requeue(kept, attempts=kept.value.attempts, at_ns=kept.value.requested_ns)

    async def _requeue(self, kept: Kept[Withdrawal], *, attempts: int, at_ns: int) -> None:
        """What the ledger holds or has posted goes back, and is held anew.

        Perhaps it stood on a deposit that the user no longer has: others shall not pay for it.
        """
        before, holds = kept.value, kept.value.holds + 1
        again = replace(
            before,
            state=WithdrawalState.QUEUED,
            plan=NO_PLAN,
            txid=NO_TXID,
            share_sats=Sats(0),
            posted=False,
            attempts=attempts,
            holds=holds,
        )
        if (await self._ledger.move([undo_of(before, at_ns)]))[0] is not None and not before.posted:
            # There is no hold to release: it was posted, in a block that was orphaned before the answer came.
            await self._ledger.move([undo_of(replace(before, posted=True), at_ns)])
        if attempts >= ATTEMPTS_MAX:
            why = f"{attempts} transactions in a row could not be mined"
        else:
            refusal = (await self._ledger.move([hold_of(again)]))[0]
            why = "" if refusal is None else "the balance no longer covers it"
        check(WITHDRAWAL, before.state, WithdrawalState.FAILED if why else again.state)
        if why:
            failed = replace(again, state=WithdrawalState.FAILED, failure=why)
            await self._queue.table.put(kept, failed)
            self._queue.waiting.pop(failed.id, None)
            log.error("withdrawal failed", withdrawal=failed.id, why=why)
            self._queue.tell(failed, None)
        else:
            self._queue.waiting[again.id] = await self._queue.table.put(kept, again)
            self._queue.tell(again, None)

    async def get(self, withdrawal_id: str) -> tuple[Withdrawal, Tx | None]:
        """A withdrawal and its transaction. Raises WithdrawalNotFound."""
        kept = await self._queue.table.get(withdrawal_id)
        if kept is None or kept.value.state in HIDDEN:
            raise WithdrawalNotFound
        return kept.value, await self._books.tx(kept.value.plan)

    async def listed(self, user_id: UserId, before: str, limit: int) -> list[Withdrawal]:
        """A page of a user's withdrawals, newest first, from below the id `before`."""
        found: list[Withdrawal] = []
        while len(found) < limit:
            page = await self._queue.table.page("user_id", user_id, before=before, limit=limit)
            found += [kept.value for kept in page if kept.value.state not in HIDDEN]
            if len(page) < limit:
                break
            before = page[-1].value.id
        return found[:limit]
