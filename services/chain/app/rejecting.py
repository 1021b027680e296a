"""Giving up what can never be mined: money back, coins free, jobs to be done by another transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mesh import logs
from services.chain.app.books import Books
from services.chain.app.costs import Costs
from services.chain.app.orders import Work
from services.chain.app.records import Kept
from services.chain.domain.entities import NO_PLAN, Coin, Tx
from services.chain.domain.states import TX, CoinState, TxState, check
from services.chain.domain.values import Outpoint, PlanId, Purpose, Txid

log = logs.logger(__name__)


class Rejecting:
    """Undoes transactions, those that stand on them first; knows which are to be replaced, and by what."""

    def __init__(self, *, books: Books, costs: Costs) -> None:
        self._books = books
        self._costs = costs
        self.work: Mapping[Purpose, Work] = {}
        # Rejected transactions by what they were to do, until another does it.
        self._unreplaced: dict[str, PlanId] = {}
        self._inputs: dict[PlanId, list[Outpoint]] = {}

    async def recover(self) -> None:
        """Knows again what is to be replaced, and writes down what was."""
        for rejected in await self._books.records.txs.where("state", TxState.REJECTED):
            self._is_to_be_replaced(rejected.value)
        for under_way in self._books.live():
            await self.replaced(under_way)

    async def reject(self, tx: Tx, why: str) -> None:
        """Undoes a transaction that can never be mined, and those that spend its outputs."""
        async with self._books.settling(f"reject:{tx.plan}"):
            doomed = self._with_children(tx.plan)
            for place, plan in enumerate(doomed):
                await self._begin(plan, why if place == 0 else f"{tx.txid}, on which it stands, was rejected")
            # All stay open until those on them are closed: a crash in between begins here again.
            for plan in reversed(doomed):
                await self._end(plan)

    async def _begin(self, plan: PlanId, why: str) -> None:
        kept = self._books.txs[plan]
        log.error("transaction rejected", txid=kept.value.txid, purpose=kept.value.purpose, why=why)
        if kept.value.state is not TxState.REJECTED:
            kept = await self._books.put_tx(kept, replace(kept.value, state=TxState.REJECTED))
        await self._costs.refund(kept.value)
        await self._release(kept.value)

    async def _end(self, plan: PlanId) -> None:
        rejected = self._books.txs[plan].value
        await self.work[rejected.purpose].rejected(rejected)
        await self._books.put_tx(self._books.txs[plan], replace(rejected, open=0))
        self._is_to_be_replaced(rejected)
        self._books.settled(f"mined:{plan}", f"cost:{plan}")

    def _with_children(self, plan: PlanId) -> list[PlanId]:
        """It and the open transactions that stand on it, each behind what it spends; none that is mined."""
        txs = {kept.value.plan: kept.value for kept in self._books.txs.values()}
        unmined = {one: tx for one, tx in txs.items() if tx.state is not TxState.MINED}
        spenders: dict[Txid, list[PlanId]] = {}
        for tx in unmined.values():
            for txid in {Outpoint.parse(point).txid for point in tx.inputs}:
                spenders.setdefault(txid, []).append(tx.plan)
        found = dict.fromkeys([plan] if plan in unmined else [])
        todo = list(found)
        while todo:
            above = [one for one in spenders.get(unmined[todo.pop()].txid, ()) if one not in found]
            found |= dict.fromkeys(above)
            todo += above
        depths: dict[Txid, int] = {}
        return sorted(found, key=lambda one: self._books.depth(unmined[one].txid, depths))

    def coins_before(self, jobs: Iterable[str]) -> list[Coin]:
        """The money that rejected transactions spent which were to do this, as far as it is free.

        What does it now spends it as well: only one of them can be mined, whoever was wrong about the first.
        """
        plans = sorted({self._unreplaced.get(job, NO_PLAN) for job in jobs})
        coins = [self._books.coins.get(point) for plan in plans for point in self._inputs.get(plan, ())]
        return [kept.value for kept in coins if kept and kept.value.is_free and not kept.value.is_title]

    def _is_to_be_replaced(self, tx: Tx) -> None:
        self._unreplaced |= dict.fromkeys(tx.jobs, tx.plan)
        self._inputs[tx.plan] = [Outpoint.parse(point) for point in tx.inputs]

    async def replaced(self, tx: Tx) -> None:
        """Writes on the rejected transactions that were to do the same that this one does it."""
        before = {self._unreplaced.pop(job, NO_PLAN) for job in tx.jobs} - {NO_PLAN, tx.plan}
        for plan, kept in (await self._books.records.txs.get_many(sorted(before))).items():
            if kept.value.state is TxState.REJECTED and not kept.value.open:
                state = check(TX, kept.value.state, TxState.REPLACED)
                await self._books.records.txs.put(kept, replace(kept.value, state=state, replaced_by=tx.txid))
                log.info("replaced", plan=plan, txid=kept.value.txid, by=tx.txid)

    async def _release(self, tx: Tx) -> None:
        """Its inputs are free again, its outputs are gone."""
        changes: list[tuple[Kept[Coin], Coin]] = []
        for kept in self._books.coins.values():
            coin = kept.value
            if coin.plan == tx.plan and coin.state is CoinState.RESERVED:
                changes.append((kept, freed(coin)))
            elif coin.outpoint.txid == tx.txid:
                changes.append((kept, replace(coin, credited=False) if coin.plan else _gone(coin)))
        await self._books.put_coins(changes)


def freed(coin: Coin) -> Coin:
    """A reserved coin whose plan is over: free, or gone when what it came with is no longer there."""
    free = replace(coin, state=CoinState.FREE, plan=NO_PLAN)
    return free if coin.credited else replace(free, state=CoinState.GONE)


def _gone(coin: Coin) -> Coin:
    return replace(coin, state=CoinState.GONE)
