"""Deposits: seen in transactions, credited on the winning chain, taken back when that undoes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mesh import logs, telemetry
from mesh.clock import Clock
from mesh.ids import made_ns, uuid7
from services.chain.app.accounts import Accounts
from services.chain.app.books import Books
from services.chain.app.ports import ChainReader, Credit, DepositView, Ledger, News, Transfer
from services.chain.app.records import Kept
from services.chain.app.withdrawals import Withdrawals
from services.chain.domain.entities import NO_BLOCK, Coin, Deposit
from services.chain.domain.header import Block
from services.chain.domain.keys import KeyRing
from services.chain.domain.scan import Payment
from services.chain.domain.states import DEPOSIT, CoinState, DepositState, check
from services.chain.domain.values import (
    COINS_ACCOUNT,
    COLD_ACCOUNT,
    COLD_USER,
    BlockHash,
    UserId,
    derived_id,
    noise_of,
)

log = logs.logger(__name__)
_due = telemetry.gauge(
    "chain.deposits.due", "Deposits with the confirmations they need that are not credited.", unit="{deposit}"
)
_took = telemetry.durations(
    "chain.deposits.duration",
    "Time from the look that first found a deposit with its confirmations to its credit.",
    buckets_s=(0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0),
)
_credited = telemetry.counter("chain.deposits.credited", "Deposits credited.", unit="{deposit}")

CREDITS_MAX = 1_000
COINBASE_CONFIRMATIONS = 100
GONE_BLOCKS = 144
"""So long a deposit that is gone is asked for again; a block that has it after all tells in any case."""


class Deposits:
    """What others send to our addresses."""

    def __init__(
        self,
        *,
        books: Books,
        accounts: Accounts,
        keys: KeyRing,
        ledger: Ledger,
        node: ChainReader,
        news: News,
        clock: Clock,
        withdrawals: Withdrawals,
        sats_min: int,
        confirmations_needed: int,
    ) -> None:
        self._books = books
        self._accounts = accounts
        self._keys = keys
        self._ledger = ledger
        self._node = node
        self._news = news
        self._clock = clock
        self._withdrawals = withdrawals
        # Coins that cost more to spend than they are worth would be paid out with the coins of others.
        self.sats_min = sats_min
        self.confirmations_needed = confirmations_needed
        # When each that is due was first found so; after a restart, anew.
        self._due_since_s: dict[str, float] = {}

    async def found(self, payments: Iterable[Payment], block: Block | None) -> None:
        """Payments to our addresses were seen, waiting (no block) or in a block of the winning chain."""
        async with self._books.changing():
            for payment in payments:
                if payment.sats >= self.sats_min:
                    await self._found(payment, block)

    async def _found(self, payment: Payment, block: Block | None) -> None:
        now_ns = self._clock.now_ns()
        fresh_id = uuid7(now_ns, noise_of(str(payment.outpoint)))
        coin = await self._books.add_coin(
            Coin(
                payment.outpoint,
                payment.sats,
                payment.path,
                CoinState.PENDING,
                deposit_id=fresh_id,
                credited=False,
            )
        )
        deposit = await self._books.records.deposits.ensure(self._fresh(coin.value, payment, now_ns))
        known = deposit.value
        if known.state is DepositState.CREDITED or (block is None and known.state is DepositState.SEEN):
            self._keep(deposit)
            return
        where = (block.hash, block.height) if block else (NO_BLOCK, 0)
        after = replace(known, state=DepositState.SEEN, block_hash=where[0], block_height=where[1])
        if after != known:
            deposit = await self._put(deposit, after)
        else:
            self._keep(deposit)
        await self._books.set_coin(payment.outpoint, CoinState.PENDING, credited=False)
        self._tell(deposit.value)

    def _fresh(self, coin: Coin, payment: Payment, now_ns: int) -> Deposit:
        return Deposit(
            id=coin.deposit_id,
            user_id=self._accounts.owner(payment.path),
            outpoint=payment.outpoint,
            sats=payment.sats,
            address=self._keys.address(payment.path),
            state=DepositState.SEEN,
            seen_ns=now_ns,
            coinbase=payment.coinbase,
        )

    async def credit_due(self) -> None:
        """Credits every deposit that has the confirmations it needs."""
        due = [kept for kept in self._books.deposits.values() if self._is_due(kept.value)]
        _due.set(len(due))
        now_s = self._clock.monotonic_s()
        self._due_since_s = {kept.value.id: self._due_since_s.get(kept.value.id, now_s) for kept in due}
        for start in range(0, len(due) or 1, CREDITS_MAX):
            await self._credit([kept.value.id for kept in due[start : start + CREDITS_MAX]])

    def _is_due(self, deposit: Deposit) -> bool:
        needed = self.confirmations_needed
        if deposit.coinbase:
            needed = max(needed, COINBASE_CONFIRMATIONS)
        # Its block may have left the chain a moment ago, and not be undone yet.
        on_chain = self._books.chain.get(deposit.block_hash) is not None
        return on_chain and self._books.chain.confirmations(deposit.block_height) >= needed

    async def _credit(self, ids: Sequence[str]) -> None:
        async with self._books.settling("credit"):
            batch = [
                kept for id_ in ids if (kept := self._books.deposits.get(id_)) and self._is_due(kept.value)
            ]
            if not batch:
                return
            batch = [await self._asking(kept) for kept in batch]
            await self._credit_all([kept.value for kept in batch])
            for kept in batch:
                after = replace(kept.value, state=DepositState.CREDITED)
                await self._books.set_coin(after.outpoint, CoinState.FREE, credited=True)
                await self._put(kept, after)
        _due.set(0)
        _credited.add(len(batch))
        now_s = self._clock.monotonic_s()
        for kept in batch:
            _took.record(now_s - self._due_since_s.pop(kept.value.id, now_s))
            log.info(
                "deposit credited", deposit=kept.value.id, sats=kept.value.sats, txid=kept.value.outpoint.txid
            )
            self._tell(replace(kept.value, state=DepositState.CREDITED))

    async def _credit_all(self, deposits: Sequence[Deposit]) -> None:
        """Has the ledger credit them: what comes back from the cold address lies there no longer."""
        refills = [_refill(one, one.credit_id) for one in deposits if one.user_id == COLD_USER]
        others = [_credit_of(one) for one in deposits if one.user_id != COLD_USER]
        if others:
            await self._ledger.credit(others)
        if refills:
            await self._ledger.move(refills)

    async def _take_back(self, deposit: Deposit, reversal_id: str) -> None:
        if deposit.user_id == COLD_USER:
            await self._ledger.move([_refill(deposit, reversal_id, back=True)])
            return
        await self._ledger.reverse(reversal_id, deposit.credit_id, "its block was orphaned")
        await self._withdrawals.reconsider(deposit.user_id)

    async def _asking(self, kept: Kept[Deposit]) -> Kept[Deposit]:
        """Writes down that the ledger is asked: should its answer be lost, it may have been credited."""
        deposit = kept.value
        if deposit.credit_id:
            return kept
        # Of the time it is asked: a payment may have been seen long before it was mined.
        parts = str(deposit.outpoint), deposit.block_hash, str(deposit.reversals)
        credit_id = derived_id(self._clock.now_ns(), "credit", *parts)
        return await self._put(kept, replace(deposit, credit_id=credit_id))

    async def undo(self, block_hash: BlockHash) -> None:
        """A block left the winning chain: what it credited is taken back, exactly."""
        for kept in await self._books.records.deposits.where("block_hash", block_hash):
            async with self._books.settling(f"undo:{kept.value.id}"):
                await self._undo(self._books.deposits.get(kept.value.id, kept))

    async def _undo(self, kept: Kept[Deposit]) -> None:
        deposit = kept.value
        after = replace(deposit, block_hash=NO_BLOCK, block_height=0, credit_id="")
        if deposit.state is DepositState.SEEN and deposit.credit_id:
            # Asked, and not answered: once it is certain that it was credited, it can be taken back.
            await self._credit_all([deposit])
            deposit = replace(deposit, state=DepositState.CREDITED)
            self._tell(deposit)
        if deposit.state is DepositState.CREDITED:
            reversal_id = derived_id(made_ns(deposit.credit_id), "reversal", deposit.credit_id)
            await self._take_back(deposit, reversal_id)
            after = replace(
                after,
                state=DepositState.REVERSED,
                reversals=deposit.reversals + 1,
                gone_height=self._books.chain.tip.height,
            )
            log.warning("deposit reversed", deposit=deposit.id, sats=deposit.sats)
        # The coin first: while the deposit's record is as it was, all of this is done again.
        await self._books.set_coin(deposit.outpoint, CoinState.PENDING, credited=False)
        await self._put(kept, after)
        self._tell(after)

    async def check_waiting(self) -> None:
        """Asks the node for deposits outside of a block: what waits is seen, what is gone is reversed."""
        gone = await self._books.records.deposits.where("state", DepositState.REVERSED)
        since = self._books.chain.tip.height - GONE_BLOCKS
        recent = [
            kept.value
            for kept in gone
            if kept.value.outpoint in self._books.coins and kept.value.gone_height >= since
        ]
        unmined = [kept.value for kept in self._books.deposits.values() if not kept.value.block_height]
        asked = [*recent, *unmined]
        there = await self._node.waiting([deposit.outpoint.txid for deposit in asked])
        for deposit in asked:
            async with self._books.changing():
                await self._waiting(deposit.id, deposit.outpoint.txid in there)

    async def _waiting(self, deposit_id: str, there: bool) -> None:
        kept = self._books.deposits.get(deposit_id) or await self._books.records.deposits.get(deposit_id)
        if kept is None or kept.value.block_height:
            return
        deposit = kept.value
        if there and deposit.state is DepositState.REVERSED:
            await self._put(kept, replace(deposit, state=DepositState.SEEN))
            await self._books.set_coin(deposit.outpoint, CoinState.PENDING)
        elif not there and deposit.state is DepositState.SEEN:
            height = self._books.chain.tip.height
            await self._put(kept, replace(deposit, state=DepositState.REVERSED, gone_height=height))
            log.warning("deposit gone", deposit=deposit.id, sats=deposit.sats, txid=deposit.outpoint.txid)
        if not there:
            await self._books.set_coin(deposit.outpoint, CoinState.GONE)

    async def listed(self, user_id: UserId, before: str, limit: int) -> list[Deposit]:
        """A page of a user's deposits, newest first, from below the id `before`."""
        page = await self._books.records.deposits.page("user_id", user_id, before=before, limit=limit)
        return [kept.value for kept in page]

    async def _put(self, kept: Kept[Deposit], after: Deposit) -> Kept[Deposit]:
        check(DEPOSIT, kept.value.state, after.state)
        written = await self._books.records.deposits.put(kept, after)
        self._keep(written)
        return written

    def _keep(self, kept: Kept[Deposit]) -> None:
        if kept.value.state is DepositState.SEEN:
            self._books.deposits[kept.value.id] = kept
        else:
            self._books.deposits.pop(kept.value.id, None)

    def _tell(self, deposit: Deposit) -> None:
        confirmations = self._books.chain.confirmations(deposit.block_height)
        self._news.changed(DepositView(deposit, confirmations))


def _refill(deposit: Deposit, id_: str, *, back: bool = False) -> Transfer:
    debit, credit = (COLD_ACCOUNT, COINS_ACCOUNT) if back else (COINS_ACCOUNT, COLD_ACCOUNT)
    return Transfer(id_, debit, credit, deposit.sats, f"refill:{deposit.outpoint}")


def _credit_of(deposit: Deposit) -> Credit:
    return Credit(
        deposit.credit_id,
        deposit.user_id,
        deposit.sats,
        deposit.outpoint.txid,
        deposit.outpoint.vout,
        deposit.block_hash,
    )
