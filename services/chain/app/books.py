"""The leader's memory of what is still open: coins, transactions, deposits, and the chain they stand on.

The store is the truth; this is read from it when leading begins, and every change is written there first, on
the condition that nobody else changed the record. What the ledger and this service must agree on changes
under `settling`, so that a snapshot of both is consistent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from services.chain.app.headers import SCANNED
from services.chain.app.ports import TitleView
from services.chain.app.records import Kept, Records
from services.chain.domain.entities import Coin, Deposit, Title, Tx
from services.chain.domain.failures import LedgerInDoubt
from services.chain.domain.headers import HeaderChain
from services.chain.domain.states import COIN, GIVEN_UP, TX, UNMINED, CoinState, DepositState, TxState, check
from services.chain.domain.values import Outpoint, PlanId, Txid

BLOCK = "block"
"""In doubt while a block is half applied or half undone."""


class Books:
    """Everything that is open."""

    def __init__(self, records: Records, chain: HeaderChain) -> None:
        self.records = records
        self.chain = chain
        self.coins: dict[Outpoint, Kept[Coin]] = {}
        self.txs: dict[PlanId, Kept[Tx]] = {}
        self.plans: dict[Txid, PlanId] = {}
        self.deposits: dict[str, Kept[Deposit]] = {}
        self._lock = asyncio.Lock()
        self._unsettled: set[str] = set()

    async def load(self) -> None:
        """Reads what is open."""
        for kept in await self.records.txs.where("open", 1):
            self.remember(kept)
        for state in (CoinState.PENDING, CoinState.FREE, CoinState.RESERVED, CoinState.GONE):
            for coin in await self.records.coins.where("state", state):
                self.coins[coin.value.outpoint] = coin
        for deposit in await self.records.deposits.where("state", DepositState.SEEN):
            self.deposits[deposit.value.id] = deposit
        self._unsettled = await self._in_doubt()

    async def _in_doubt(self) -> set[str]:
        """What the ledger may have been asked before a crash, until it is asked again."""
        found = {f"cost:{plan}" for plan, kept in self.txs.items() if not kept.value.cost_done}
        found |= {f"reject:{plan}" for plan, kept in self.txs.items() if kept.value.state in GIVEN_UP}
        found |= {"credit" for kept in self.deposits.values() if kept.value.credit_id}
        scanned = await self.records.pointers.get(SCANNED)
        return found | ({BLOCK} if scanned is not None and scanned.value.begun else set())

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Nobody else changes the books within the block."""
        async with self._lock:
            yield

    @asynccontextmanager
    async def settling(self, what: str) -> AsyncIterator[None]:
        """Like `changing`, for a change at the ledger and here; if it fails, they differ until it is done."""
        async with self._lock:
            self._unsettled.add(what)
            yield
            self._unsettled.discard(what)

    def settled(self, *what: str) -> None:
        """What was in doubt has been settled by another change."""
        self._unsettled.difference_update(what)

    def require_settled(self) -> None:
        """Raises LedgerInDoubt while ledger and books may differ."""
        if self._unsettled:
            raise LedgerInDoubt

    def remember(self, kept: Kept[Tx]) -> None:
        """Adds an open transaction."""
        self.txs[kept.value.plan] = kept
        self.plans[kept.value.txid] = kept.value.plan

    def live(self) -> list[Tx]:
        """Open transactions that were not rejected, the oldest first (to the millisecond)."""
        open_ = [kept.value for kept in self.txs.values() if kept.value.state not in GIVEN_UP]
        return sorted(open_, key=lambda tx: tx.plan)

    def tx_of(self, txid: Txid) -> Kept[Tx] | None:
        """An open transaction by its id."""
        plan = self.plans.get(txid)
        return None if plan is None else self.txs.get(plan)

    async def put_tx(self, kept: Kept[Tx], after: Tx) -> Kept[Tx]:
        """Changes a transaction; one that is no longer open is forgotten."""
        check(TX, kept.value.state, after.state)
        written = await self.records.txs.put(kept, after)
        if after.open:
            self.remember(written)
        else:
            self.txs.pop(after.plan, None)
            self.plans.pop(after.txid, None)
        return written

    async def put_coins(self, changes: Iterable[tuple[Kept[Coin], Coin]]) -> None:
        """Changes coins; spent ones are forgotten."""
        todo = [(kept, after) for kept, after in changes if kept.value != after]
        for kept, after in todo:
            check(COIN, kept.value.state, after.state)
        for written in await self.records.coins.put_all(todo):
            self.coins[written.value.outpoint] = written
            if written.value.state is CoinState.SPENT:
                del self.coins[written.value.outpoint]

    async def add_coin(self, coin: Coin) -> Kept[Coin]:
        """A coin that is new, or as it is known from before."""
        known = self.coins.get(coin.outpoint)
        if known is None:
            known = await self.records.coins.ensure(coin)
            if known.value.state is not CoinState.SPENT:
                self.coins[coin.outpoint] = known
        return known

    async def set_coin(self, outpoint: Outpoint, state: CoinState, *, credited: bool | None = None) -> None:
        """Changes a coin's state, keeping what a plan has reserved: of that only `credited` changes."""
        kept = self.coins.get(outpoint)
        if kept is None:
            return
        coin = kept.value
        wanted = coin.state if coin.state is CoinState.RESERVED else state
        known = coin.credited if credited is None else credited
        await self.put_coins([(kept, replace(coin, state=wanted, credited=known))])

    def depth(self, txid: Txid, known: dict[Txid, int] | None = None) -> int:
        """How many unmined transactions of ours an output of this one stands on; `known` saves work."""
        known = {} if known is None else known
        # Not by calling itself: after a deep reorganisation the stack would be too high for that.
        todo = [txid]
        while todo:
            below = self._unmined_parents(todo[-1])
            missing = [parent for parent in below if parent not in known]
            if missing:
                todo += missing
            else:
                known[todo.pop()] = 1 + max(known[parent] for parent in below) if below else 0
        return known[txid]

    def _unmined_parents(self, txid: Txid) -> set[Txid]:
        """What an unmined transaction of ours spends; nothing for others."""
        kept = self.tx_of(txid)
        if kept is None or kept.value.state is TxState.MINED:
            return set()
        return {Outpoint.parse(point).txid for point in kept.value.inputs}

    def unmined_below(self, tx: Tx) -> list[Tx]:
        """It and the transactions of ours that it stands on, as far as they are not in a block."""
        found: dict[PlanId, Tx] = {}
        todo = [tx]
        while todo:
            one = todo.pop()
            if one.plan in found or one.state not in UNMINED:
                continue
            found[one.plan] = one
            below = (self.tx_of(Outpoint.parse(point).txid) for point in one.inputs)
            todo += [kept.value for kept in below if kept is not None]
        return list(found.values())

    @property
    def hot_sats(self) -> int:
        """Money that is free to be spent from the hot wallet."""
        coins = (kept.value for kept in self.coins.values())
        return sum(coin.sats for coin in coins if coin.is_free and not coin.is_title)

    def confirmations(self, tx: Tx | None) -> int:
        """Blocks on a transaction of ours."""
        return 0 if tx is None else self.chain.confirmations(tx.block_height)

    def blocks_waited(self, tx: Tx) -> int:
        """Blocks that came without it since it was sent, or since a reorganisation took its block."""
        waits = tx.sent_height and not tx.block_height
        return max(0, self.chain.tip.height - tx.sent_height) if waits else 0

    async def tx(self, plan: PlanId) -> Tx | None:
        """A transaction, open or not; None before it is signed."""
        if not plan:
            return None
        kept = self.txs.get(plan) or await self.records.txs.get(plan)
        return None if kept is None or kept.value.state is TxState.ABANDONED else kept.value

    async def title_view(self, title: Title) -> TitleView:
        """A title with the state of its last transaction."""
        tx = await self.tx(title.plan)
        return TitleView(title, tx.state if tx else None, self.confirmations(tx))
