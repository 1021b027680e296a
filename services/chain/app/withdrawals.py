"""Withdrawals and payouts: held in the ledger, paid in batches, posted when mined."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mesh import logs
from mesh.clock import Clock
from mesh.errors import IdReused
from mesh.records import Exists
from services.chain.app.books import Books
from services.chain.app.holds import hold_of, post_of, shares_of, undo_of
from services.chain.app.orders import Order
from services.chain.app.ports import (
    Ledger,
    News,
    Reason,
    Refusal,
    Users,
    WithdrawalView,
)
from services.chain.app.records import Kept
from services.chain.app.wallet import Wallet
from services.chain.domain.addresses import key_hash_of
from services.chain.domain.entities import NO_PLAN, NO_TXID, Tx, Withdrawal
from services.chain.domain.failures import (
    AddressInvalid,
    AmountTooSmall,
    InsufficientFunds,
    WalletEmpty,
    WithdrawalNotFound,
)
from services.chain.domain.scripts import p2pkh
from services.chain.domain.spending import OUTPUTS_MAX
from services.chain.domain.states import WITHDRAWAL, WithdrawalState, check
from services.chain.domain.values import (
    Network,
    PlanId,
    Purpose,
    Sats,
    UserId,
    account_of,
)
from services.chain.domain.wire import Output

log = logs.logger(__name__)

HIDDEN = (WithdrawalState.NEW, WithdrawalState.REFUSED)
ATTEMPTS_MAX = 3


@dataclass(frozen=True, slots=True)
class WithdrawalRule:
    """The smallest amount, and what a withdrawal pays for the miner at most, in satoshis."""

    network: Network
    sats_min: int = 200
    fee_ceiling_sats: int = 100


@dataclass(frozen=True, slots=True)
class Payout:
    """Something to be paid out, the miner's fee included."""

    id: str
    user_id: UserId
    sats: Sats


class Withdrawals:
    """Coins on their way out."""

    def __init__(
        self,
        *,
        books: Books,
        wallet: Wallet,
        ledger: Ledger,
        users: Users,
        news: News,
        clock: Clock,
        rule: WithdrawalRule,
    ) -> None:
        self._books = books
        self._table = books.records.withdrawals
        self._wallet = wallet
        self._ledger = ledger
        self._users = users
        self._news = news
        self._clock = clock
        self._rule = rule
        self._queue: dict[str, Kept[Withdrawal]] = {}
        # One after the other, so that a repeated request finds what the first one did.
        self._asking = asyncio.Lock()

    async def recover(self) -> None:
        """Goes on with everything that was under way."""
        for kept in await self._table.where("state", WithdrawalState.QUEUED):
            self._queue[kept.value.id] = kept
        for kept in await self._table.where("state", WithdrawalState.ASSIGNED):
            await self._reassign(kept)
        # A lost write of the store may show as queued what a transaction pays: the transaction is right.
        for tx in self._books.live():
            if tx.purpose is Purpose.WITHDRAWAL:
                await self.signed(tx)
        await self.hold_new()

    async def hold_new(self) -> None:
        """Asks again for holds whose outcome was unknown."""
        async with self._asking:
            for kept in await self._table.where("state", WithdrawalState.NEW):
                await self._hold([kept])

    async def request(self, wanted_id: str, user_id: UserId, address: str, sats: Sats) -> Withdrawal:
        """Queues a withdrawal. Raises AddressInvalid, AmountTooSmall, InsufficientFunds, IdReused."""
        key_hash_of(address, self._rule.network)
        if sats < self._rule.sats_min:
            raise AmountTooSmall(minimum=self._rule.sats_min)
        new = self._new(wanted_id, user_id, address, sats, self._rule.fee_ceiling_sats)
        async with self._asking:
            if await self._table.get(wanted_id) is None and (missing := await self._missing(new)):
                # Nothing is kept of what cannot be paid: it may be any number, and any number of them.
                raise missing
            kept = await self._open(new)
            if kept.value.state not in HIDDEN:
                return kept.value
            after, refusal = (await self._hold([kept]))[0]
        if refusal is not None:
            raise await self._missing(new) or InsufficientFunds(refusal.detail, needed=new.held_sats)
        return after.value

    async def _missing(self, wanted: Withdrawal) -> InsufficientFunds | None:
        """Why the balance does not cover it, if so."""
        available, needed = await self._ledger.available_sats(account_of(wanted.user_id)), wanted.held_sats
        return InsufficientFunds(available=available, needed=needed) if available < needed else None

    async def queue_payouts(self, payouts: Sequence[Payout]) -> tuple[list[Withdrawal], list[UserId]]:
        """Queues payouts; also returns the users who are left out."""
        known = await self._table.get_many(payout.id for payout in payouts)
        fresh = {payout.user_id for payout in payouts if payout.id not in known}
        addresses = await self._users.payout_addresses(sorted(fresh))
        async with self._asking:
            return await self._queue_payouts(payouts, addresses)

    async def _queue_payouts(
        self, payouts: Sequence[Payout], addresses: Mapping[UserId, str]
    ) -> tuple[list[Withdrawal], list[UserId]]:
        known = await self._table.get_many(payout.id for payout in payouts)
        opened: list[Kept[Withdrawal]] = []
        skipped: list[UserId] = []
        for payout in payouts:
            if payout.id in known:
                opened.append(_same_payout(known[payout.id], payout))
            elif (new := self._payable(payout, addresses.get(payout.user_id, ""))) is not None:
                opened.append(await self._open(new))
            else:
                skipped.append(payout.user_id)
        todo = [kept for kept in opened if kept.value.state in HIDDEN]
        done = [kept.value for kept in opened if kept.value.state not in HIDDEN]
        for after, refusal in await self._hold(todo) if todo else ():
            if refusal is None:
                done.append(after.value)
            else:
                skipped.append(after.value.user_id)
        return done, skipped

    def _payable(self, payout: Payout, address: str) -> Withdrawal | None:
        sats = Sats(payout.sats - self._rule.fee_ceiling_sats)
        if not address or sats < self._rule.sats_min:
            return None
        try:
            key_hash_of(address, self._rule.network)
        except AddressInvalid:
            log.warning("payout address cannot be paid", user=payout.user_id)
            return None
        return self._new(payout.id, payout.user_id, address, sats, self._rule.fee_ceiling_sats)

    def _new(self, id_: str, user_id: UserId, address: str, sats: Sats, ceiling: int) -> Withdrawal:
        now_ns = self._clock.now_ns()
        return Withdrawal(id_, user_id, address, sats, Sats(ceiling), WithdrawalState.NEW, now_ns)

    async def _open(self, wanted: Withdrawal) -> Kept[Withdrawal]:
        """Writes the wish down, or finds it. Raises IdReused."""
        try:
            return await self._table.create(wanted)
        except Exists:
            found = await self._table.get(wanted.id)
            if found is None:
                raise
            body = (found.value.user_id, found.value.address, found.value.amount_sats)
            if body != (wanted.user_id, wanted.address, wanted.amount_sats):
                raise IdReused from None
            return found

    async def _hold(
        self, wanted: Sequence[Kept[Withdrawal]]
    ) -> list[tuple[Kept[Withdrawal], Refusal | None]]:
        """Holds amount and fee of each in the ledger, and queues what it held."""
        kept = [
            await self._put(w, WithdrawalState.NEW) if w.value.state is WithdrawalState.REFUSED else w
            for w in wanted
        ]
        refusals = await self._ledger.move([hold_of(w.value) for w in kept])
        done: list[tuple[Kept[Withdrawal], Refusal | None]] = []
        for one, refusal in zip(kept, refusals, strict=True):
            state = WithdrawalState.QUEUED if refusal is None else WithdrawalState.REFUSED
            refused = one.value.holds + (0 if refusal is None else 1)
            after = await self._put(Kept(replace(one.value, holds=refused), one.generation), state)
            if refusal is None:
                self._queue[after.value.id] = after
                self._tell(after.value, None)
            elif refusal.reason is not Reason.INSUFFICIENT:
                log.error("hold refused", withdrawal=one.value.id, detail=refusal.detail)
            done.append((after, refusal))
        return done

    @property
    def queued(self) -> int:
        """How many wait for the next batch."""
        return len(self._queue)

    async def batch(self) -> Tx | None:
        """Pays up to OUTPUTS_MAX of the queue with one transaction; None when it cannot now.

        The oldest first. If the coins do not do for the oldest, the smallest are paid: a large withdrawal
        that waits for coins keeps nobody else waiting.
        """
        by_age = [] if self._wallet.frozen else list(self._queue.values())
        by_size = sorted(by_age, key=lambda kept: kept.value.amount_sats)
        for waiting in (by_age, by_size):
            size = min(len(waiting), OUTPUTS_MAX)
            while size:
                try:
                    return await self._wallet.make(self._order(waiting[:size]))
                except WalletEmpty as empty:
                    # Perhaps the coins do for some of them.
                    log.warning("withdrawals wait for coins", queued=len(self._queue), **empty.metadata)
                    size //= 2
        return None

    def _order(self, batch: Sequence[Kept[Withdrawal]]) -> Order:
        return Order(
            Purpose.WITHDRAWAL,
            jobs=tuple(kept.value.id for kept in batch),
            outputs=tuple(
                Output(kept.value.amount_sats, p2pkh(key_hash_of(kept.value.address, self._rule.network)))
                for kept in batch
            ),
            assign=partial(self._assign, batch),
            share=partial(shares_of, [kept.value for kept in batch]),
        )

    async def _assign(self, batch: Sequence[Kept[Withdrawal]], plan: PlanId) -> None:
        changes = [(kept, replace(kept.value, state=WithdrawalState.ASSIGNED, plan=plan)) for kept in batch]
        for written in await self._table.put_all(changes):
            self._queue.pop(written.value.id, None)

    async def _reassign(self, kept: Kept[Withdrawal]) -> None:
        """After a crash: back to the queue, unless its transaction was signed."""
        if await self._wallet.settled(kept.value.plan) is None:
            after = await self._put(kept, WithdrawalState.QUEUED)
            self._queue[after.value.id] = after

    async def signed(self, tx: Tx) -> None:
        """Each has a transaction now."""
        found = await self._table.get_many(tx.jobs)
        for job, share in zip(tx.jobs, tx.shares, strict=True):
            kept = found[job]
            if kept.value.state not in (WithdrawalState.QUEUED, WithdrawalState.ASSIGNED):
                continue
            assigned = replace(kept.value, state=WithdrawalState.ASSIGNED, plan=tx.plan)
            after = replace(assigned, state=WithdrawalState.SENT, txid=tx.txid, share_sats=Sats(share))
            await self._table.put(kept, after)
            self._queue.pop(job, None)
            self._tell(after, tx)

    async def mined(self, tx: Tx) -> None:
        """Posts what each cost, releases the rest, and confirms. The caller holds `settling`."""
        found = await self._table.get_many(tx.jobs)
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
            await self._table.put(kept, after)
            self._tell(after, tx)

    async def unmined(self, tx: Tx) -> None:
        """Their block was orphaned; they stay paid by the same transaction."""
        for kept in (await self._table.get_many(tx.jobs)).values():
            if kept.value.state is WithdrawalState.CONFIRMED:
                after = await self._put(kept, WithdrawalState.SENT)
                self._tell(after.value, tx)

    async def rejected(self, tx: Tx) -> None:
        """Their transaction can never be mined: queued again, given up after ATTEMPTS_MAX."""
        for kept in (await self._table.get_many(tx.jobs)).values():
            if kept.value.state is WithdrawalState.SENT and kept.value.plan == tx.plan:
                await self._requeue(kept, attempts=kept.value.attempts + 1, at_ns=tx.created_ns)

    async def reconsider(self, user_id: UserId) -> None:
        """A deposit of the user was undone: what is queued is held anew. The caller holds `settling`."""
        async with self._asking:
            for kept in [one for one in self._queue.values() if one.value.user_id == user_id]:
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
            await self._table.put(kept, failed)
            self._queue.pop(failed.id, None)
            log.error("withdrawal failed", withdrawal=failed.id, why=why)
            self._tell(failed, None)
        else:
            self._queue[again.id] = await self._table.put(kept, again)
            self._tell(again, None)

    async def get(self, withdrawal_id: str) -> tuple[Withdrawal, Tx | None]:
        """A withdrawal and its transaction. Raises WithdrawalNotFound."""
        kept = await self._table.get(withdrawal_id)
        if kept is None or kept.value.state in HIDDEN:
            raise WithdrawalNotFound
        return kept.value, await self._books.tx(kept.value.plan)

    async def listed(self, user_id: UserId, before: str, limit: int) -> list[Withdrawal]:
        """A page of a user's withdrawals, newest first, from below the id `before`."""
        found: list[Withdrawal] = []
        while len(found) < limit:
            page = await self._table.page("user_id", user_id, before=before, limit=limit)
            found += [kept.value for kept in page if kept.value.state not in HIDDEN]
            if len(page) < limit:
                break
            before = page[-1].value.id
        return found[:limit]

    async def _put(self, kept: Kept[Withdrawal], state: WithdrawalState) -> Kept[Withdrawal]:
        check(WITHDRAWAL, kept.value.state, state)
        return await self._table.put(kept, replace(kept.value, state=state))

    def _tell(self, withdrawal: Withdrawal, tx: Tx | None) -> None:
        self._news.changed(WithdrawalView(withdrawal, self._books.confirmations(tx)))


def _same_payout(kept: Kept[Withdrawal], payout: Payout) -> Kept[Withdrawal]:
    if (kept.value.user_id, kept.value.held_sats) != (payout.user_id, payout.sats):
        raise IdReused
    return kept
