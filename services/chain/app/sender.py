"""Sending: the same bytes until a block has them; an unknown outcome is asked about before anything else."""

from __future__ import annotations

from dataclasses import replace

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from mesh import logs, telemetry
from mesh.clock import Clock
from services.chain.app.books import Books
from services.chain.app.costs import Costs
from services.chain.app.pauses import Pauses
from services.chain.app.ports import Broadcast, Broadcaster, ChainReader
from services.chain.app.rejecting import Rejecting
from services.chain.app.wallet import Wallet
from services.chain.domain.entities import Coin, Tx
from services.chain.domain.states import UNMINED, CoinState, DepositState, TxState
from services.chain.domain.values import Outpoint, PlanId, Txid

RESEND_BLOCKS = 2
"""What a node says it has, and no block takes, is sent again after so many blocks, then twice as many, ..."""

log = logs.logger(__name__)


class Sender:
    """Brings signed transactions to the miners and keeps them there until they are mined."""

    def __init__(
        self,
        *,
        books: Books,
        wallet: Wallet,
        costs: Costs,
        rejecting: Rejecting,
        reader: ChainReader,
        broadcaster: Broadcaster,
        clock: Clock,
        replace_after_blocks: int,
    ) -> None:
        self._books = books
        self._wallet = wallet
        self._costs = costs
        self._rejecting = rejecting
        self._reader = reader
        self._broadcaster = broadcaster
        self._replace_after_blocks = replace_after_blocks
        self._pauses = Pauses(clock)
        # Blocks that had gone by without it when it was sent again.
        self._resent: dict[PlanId, int] = {}
        self._tip = ""

    async def send(self, plan: PlanId) -> None:
        """Sends one for the first time, or again."""
        if not await self._costs.pay(plan):
            return
        kept = self._books.txs.get(plan)
        if kept is None or kept.value.state not in UNMINED:
            return
        tx = kept.value
        first = tx.state is TxState.SIGNED
        if first:
            await self._move(plan, TxState.SENT)  # from here on somebody may have the bytes
        # For many, and on nobody's time: a trace of its own, linked to those who ordered what it does.
        with telemetry.tracer.start_as_current_span(
            "chain send",
            context=Context(),
            kind=SpanKind.PRODUCER,
            attributes={"satreel.tx.id": tx.txid, "satreel.tx.purpose": tx.purpose},
            links=telemetry.links_to(tx.jobs, tx.causes),
        ):
            telemetry.note_cause(tx.txid)
            sent = await self._broadcaster.send(tx.raw, self._wallet.spent_by(tx))
        match sent.outcome:
            case Broadcast.ACCEPTED:
                await self._move(plan, TxState.SEEN)
            case Broadcast.REJECTED:
                await self._rejecting.reject(tx, sent.reason)
            case Broadcast.REFUSED if first:
                await self._rejecting.reject(tx, sent.reason)
            case Broadcast.CONTESTED:
                log.error("contested: another spend of its coins is known", txid=tx.txid, reason=sent.reason)
                await self._move(plan, TxState.CONTESTED)
                await self._give_up_if_doomed(tx)
            case Broadcast.REFUSED | Broadcast.UNKNOWN:
                # Once a node had it, others may have it still and mine it: no other may pay the same.
                log.warning("not certain whether sent", txid=tx.txid, reason=sent.reason)
                await self._give_up_if_doomed(tx)

    async def tend(self) -> None:
        """Looks after everything unmined: asks for it, sends again what does not wait to be mined."""
        open_ = [kept.value for kept in self._books.txs.values() if kept.value.state in UNMINED]
        # Parents before children, or the node answers that inputs are missing.
        depths: dict[Txid, int] = {}
        open_.sort(key=lambda tx: (self._books.depth(tx.txid, depths), tx.created_ns))
        self._forget(open_)
        there = await self._reader.waiting([tx.txid for tx in open_])
        for tx in open_:
            if tx.txid not in there:
                await self._send_again(tx.plan)
                continue
            await self._move(tx.plan, TxState.SEEN)
            if self._is_overdue(tx):
                await self.send(tx.plan)

    async def look(self, txid: Txid) -> None:
        """Something may have happened to a transaction: the broadcaster is asked, and moves it if it is ours.

        That it is mined its block says, and that it never will be nobody who is only asked.
        """
        kept = self._books.tx_of(txid)
        if kept is None or kept.value.state not in UNMINED:
            return
        with telemetry.tracer.start_as_current_span(
            "chain look",
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes={"satreel.tx.id": txid},
            links=telemetry.links_to([txid], kept.value.causes),
        ):
            said = await self._broadcaster.ask(txid)
            if said.outcome is Broadcast.ACCEPTED:
                await self._move(kept.value.plan, TxState.SEEN)
            elif said.outcome is Broadcast.CONTESTED:
                log.error("contested: another spend of its coins is known", txid=txid, reason=said.reason)
                await self._move(kept.value.plan, TxState.CONTESTED)

    def _forget(self, open_: list[Tx]) -> None:
        """A new block may have changed what did not work; what is mined needs nothing any more."""
        if self._tip != self._books.chain.tip.hash:
            self._tip = self._books.chain.tip.hash
            self._pauses.clear()
        plans = {tx.plan for tx in open_}
        self._resent = {plan: blocks for plan, blocks in self._resent.items() if plan in plans}

    async def _send_again(self, plan: PlanId) -> None:
        if not self._pauses.over(plan):
            return
        await self.send(plan)
        kept = self._books.txs.get(plan)
        if kept is not None and kept.value.state is not TxState.SEEN:
            self._pauses.begin(plan)

    def _is_overdue(self, tx: Tx) -> bool:
        """Whether blocks go by without it: the node that has it may have told nobody."""
        blocks = self._books.blocks_waited(tx)
        if blocks < max(RESEND_BLOCKS, 2 * self._resent.get(tx.plan, 0)):
            return False
        self._resent[tx.plan] = blocks
        return True

    async def _move(self, plan: PlanId, state: TxState) -> None:
        async with self._books.changing():
            kept = self._books.txs.get(plan)
            if kept is None or kept.value.state not in UNMINED or kept.value.state is state:
                return
            tx = replace(kept.value, state=state)
            if kept.value.state in (TxState.SIGNED, TxState.REORGANISED):
                tx = replace(tx, sent_height=self._books.chain.tip.height)
            await self._books.put_tx(kept, tx)

    async def _give_up_if_doomed(self, tx: Tx) -> None:
        if await self._is_doomed(tx):
            await self._rejecting.reject(tx, "a coin that it spends is gone")

    async def _is_doomed(self, tx: Tx) -> bool:
        """Whether a coin that it spends is somebody else's for good, or came with a deposit long gone."""
        for point in tx.inputs:
            kept = self._books.coins.get(Outpoint.parse(point))
            if kept is not None and await self._is_lost(kept.value):
                return True
            if kept is None or kept.value.credited or not kept.value.deposit_id:
                continue
            deposit = await self._books.records.deposits.get(kept.value.deposit_id)
            if deposit is None or deposit.value.state is not DepositState.REVERSED:
                continue
            blocks = self._books.chain.tip.height - deposit.value.gone_height
            if kept.value.state is CoinState.RESERVED and blocks >= self._replace_after_blocks:
                return True
        return False

    async def _is_lost(self, coin: Coin) -> bool:
        """Whether a stranger spent it, deep enough, and somebody has looked into that.

        If that was a transaction of ours that was given up, it may have paid the same: it is not paid again.
        """
        if not coin.lost_in or self._wallet.frozen:
            return False
        chain = self._books.chain
        there = coin.lost_height < chain.lowest.height or chain.get(coin.lost_in) is not None
        deep = chain.tip.height - coin.lost_height >= self._replace_after_blocks
        return there and deep and not await self._books.records.txs.where("txid", coin.lost_to)
