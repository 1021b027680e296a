"""Sending: the same bytes until a block has them; an unknown outcome is asked about before anything else."""

from __future__ import annotations

from dataclasses import replace

from mesh import logs
from services.chain.app.books import Books
from services.chain.app.ports import Broadcast, Broadcaster, ChainReader
from services.chain.app.wallet import Wallet
from services.chain.domain.entities import Tx
from services.chain.domain.states import CoinState, DepositState, TxState
from services.chain.domain.values import Outpoint, PlanId, Txid

log = logs.logger(__name__)

UNMINED = (TxState.SIGNED, TxState.SEEN)


class Sender:
    """Brings signed transactions to the miners and keeps them there until they are mined."""

    def __init__(
        self,
        *,
        books: Books,
        wallet: Wallet,
        reader: ChainReader,
        broadcaster: Broadcaster,
        replace_after_blocks: int,
    ) -> None:
        self._books = books
        self._wallet = wallet
        self._reader = reader
        self._broadcaster = broadcaster
        self._replace_after_blocks = replace_after_blocks

    async def send(self, plan: PlanId) -> None:
        """Sends one for the first time, or again."""
        if not await self._wallet.pay_cost(plan):
            return
        kept = self._books.txs.get(plan)
        if kept is None or kept.value.state not in UNMINED:
            return
        tx = kept.value
        sent = await self._broadcaster.send(tx.raw, self._wallet.spent_by(tx))
        match sent.outcome:
            case Broadcast.ACCEPTED:
                await self._seen(plan)
            case Broadcast.REJECTED:
                await self._wallet.reject(tx, sent.reason)
            case Broadcast.REFUSED if tx.state is TxState.SIGNED:
                await self._wallet.reject(tx, sent.reason)
            case Broadcast.REFUSED | Broadcast.UNKNOWN:
                # Once a node had it, others may have it still and mine it: no other may pay the same.
                log.warning("not certain whether sent", txid=tx.txid, reason=sent.reason)
                if await self._is_doomed(tx):
                    await self._wallet.reject(tx, "a coin that it spends is gone")

    async def tend(self) -> None:
        """Looks after everything unmined: asks for it, sends again what does not wait to be mined."""
        open_ = [kept.value for kept in self._books.txs.values() if kept.value.state in UNMINED]
        # Parents before children, or the node answers that inputs are missing.
        depths: dict[Txid, int] = {}
        open_.sort(key=lambda tx: (self._books.depth(tx.txid, depths), tx.created_ns))
        there = await self._reader.waiting([tx.txid for tx in open_])
        for tx in open_:
            if tx.txid not in there:
                await self.send(tx.plan)
            elif tx.state is TxState.SIGNED:
                await self._seen(tx.plan)

    async def _seen(self, plan: PlanId) -> None:
        async with self._books.changing():
            kept = self._books.txs.get(plan)
            if kept is not None and kept.value.state is TxState.SIGNED:
                await self._books.put_tx(kept, replace(kept.value, state=TxState.SEEN))

    async def _is_doomed(self, tx: Tx) -> bool:
        """Whether a coin that it spends came with a deposit that has been gone for long enough."""
        for point in tx.inputs:
            kept = self._books.coins.get(Outpoint.parse(point))
            if kept is None or kept.value.credited or not kept.value.deposit_id:
                continue
            deposit = await self._books.records.deposits.get(kept.value.deposit_id)
            if deposit is None or deposit.value.state is not DepositState.REVERSED:
                continue
            blocks = self._books.chain.tip.height - deposit.value.gone_height
            if kept.value.state is CoinState.RESERVED and blocks >= self._replace_after_blocks:
                return True
        return False
