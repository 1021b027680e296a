"""The hot wallet: from an order to a signed, durable transaction.

The steps, each durable before the next: jobs assigned and coins reserved for a plan (conditional writes),
then the signed transaction under that plan's key, create-only, then its own outputs. Only what is written
is sent. Recovery gives up plans without a transaction by writing an ABANDONED one under the same key: a
leader that was paused in between fails to write, so no two transactions ever pay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mesh import logs, telemetry
from mesh.clock import Clock
from mesh.ids import uuid7
from mesh.records import Exists
from services.chain.app.books import Books
from services.chain.app.costs import cost_of
from services.chain.app.fees import FeeRate
from services.chain.app.freezing import Freezing
from services.chain.app.orders import HalfDone, Order, Policy, WalletFrozen, Work
from services.chain.app.ports import Fence
from services.chain.app.records import Kept
from services.chain.app.rejecting import Rejecting, freed
from services.chain.domain.entities import NO_BLOCK, NO_TXID, Coin, Tx
from services.chain.domain.failures import NotLeader
from services.chain.domain.header import Block
from services.chain.domain.keys import CHANGE, KeyPath, KeyRing
from services.chain.domain.spending import ChangeRule, Draft, Signed, Spendable, check, draft, sign
from services.chain.domain.states import GIVEN_UP, UNMINED, CoinState, TxState
from services.chain.domain.values import (
    BlockHash,
    Outpoint,
    PlanId,
    Purpose,
    Sats,
    Txid,
    noise_of,
)
from services.chain.domain.wire import Output, parse_transaction

log = logs.logger(__name__)


class Wallet:
    """Makes transactions of our coins."""

    def __init__(
        self,
        *,
        books: Books,
        keys: KeyRing,
        rejecting: Rejecting,
        freezing: Freezing,
        fence: Fence,
        clock: Clock,
        policy: Policy,
        fees: FeeRate,
    ) -> None:
        self._books = books
        self._keys = keys
        self._rejecting = rejecting
        self._freezing = freezing
        self._fence = fence
        self._clock = clock
        self._policy = policy
        self._fees = fees
        self._change_script = keys.key(CHANGE).script
        self.work: Mapping[Purpose, Work] = {}

    @property
    def frozen(self) -> str:
        """Why nothing is signed; "" while it is."""
        return "; ".join(freeze.why for freeze in self._freezing.open)

    async def lost(self, outpoint: Outpoint, txid: Txid, block: Block) -> None:
        """A block spends this coin of ours by a transaction that is not under way here: nothing is signed."""
        if outpoint not in self._books.coins:
            return
        known = await self._books.records.txs.where("txid", txid)
        whose = f"which is ours and was given up ({known[0].value.state})" if known else "which is not ours"
        await self._freezing.freeze(txid, outpoint, f"{outpoint} was spent by {txid}, {whose}")
        async with self._books.changing():
            coin = self._books.coins[outpoint]
            lost = replace(coin.value, lost_in=block.hash, lost_height=block.height, lost_to=txid)
            await self._books.put_coins([(coin, lost)])
            spender = self._books.txs.get(coin.value.plan)
            if spender is not None and spender.value.state in UNMINED:
                await self._books.put_tx(spender, replace(spender.value, state=TxState.CONTESTED))

    async def found_again(self, block_hash: BlockHash) -> None:
        """A block left the chain: what somebody else spent in it is there again."""
        async with self._books.changing():
            lost = [kept for kept in self._books.coins.values() if kept.value.lost_in == block_hash]
            found = (
                (kept, replace(kept.value, lost_in=NO_BLOCK, lost_height=0, lost_to=NO_TXID)) for kept in lost
            )
            await self._books.put_coins(found)

    def spendable(self) -> list[Spendable]:
        """Free coins that may be spent now."""
        depths: dict[Txid, int] = {}
        return [
            self.as_spendable(kept.value)
            for kept in self._books.coins.values()
            if not kept.value.is_title and self.may_spend(kept.value, depths)
        ]

    def may_spend(self, coin: Coin, depths: dict[Txid, int] | None = None) -> bool:
        """Whether a coin is free, and not stacked too deep on unmined transactions."""
        if not coin.is_free:
            return False
        return self._books.depth(coin.outpoint.txid, depths) < self._policy.depth_max

    def as_spendable(self, coin: Coin, script: bytes = b"") -> Spendable:
        """A coin as building wants it; `script` where it is not the key's plain one."""
        return Spendable(coin.outpoint, coin.sats, coin.path, script)

    def draft(self, order: Order) -> Draft:
        """Which coins it would take. Raises WalletEmpty."""
        if self.frozen:
            raise WalletFrozen
        again = map(self.as_spendable, self._rejecting.coins_before(order.jobs))
        fixed = {coin.outpoint: coin for coin in (*order.fixed, *again)}
        pool = [coin for coin in self.spendable() if coin.outpoint not in fixed]
        many = order.outputs and len(pool) < self._policy.coins_wanted
        parts = self._policy.change_parts if many else 1
        rule = ChangeRule(self._change_script, parts, self._policy.change_sats_min, self._policy.dust_sats)
        return draft(
            order.outputs,
            pool,
            rule,
            self._fees.sats_per_kb,
            fixed=tuple(fixed.values()),
            extra_sats=order.extra_sats,
        )

    async def make(self, order: Order) -> Tx:
        """A signed, durable transaction. Raises WalletEmpty with nothing changed, and HalfDone."""
        async with self._books.changing():
            found = self.draft(order)
            check(found, self._fees.sats_per_kb, self._policy.dust_sats, extra_sats=order.extra_sats)
            self._fence.check()
            try:
                tx = await self._make(order, found)
            except Exception as problem:
                raise HalfDone(str(problem)) from problem
        log.info(
            "transaction signed", txid=tx.txid, purpose=tx.purpose, fee_sats=tx.fee_sats, jobs=len(tx.jobs)
        )
        return tx

    async def _make(self, order: Order, found: Draft) -> Tx:
        now_ns = self._clock.now_ns()
        plan = PlanId(uuid7(now_ns))
        await order.assign(plan)
        await self._books.put_coins(
            (kept, replace(kept.value, state=CoinState.RESERVED, plan=plan))
            for kept in (self._books.coins[coin.outpoint] for coin in found.inputs)
        )
        # The same coins for the same jobs, once more, would be the same txid: its outputs are gone for good.
        signed = sign(found, self._keys.key, noise_of(plan, 32))
        self._fence.check()
        tx = await self._write(order, found, signed, plan, now_ns)
        await self.adopt_outputs(tx)
        await self._rejecting.replaced(tx)
        await self.work[order.purpose].signed(tx)
        return tx

    async def _write(self, order: Order, found: Draft, signed: Signed, plan: PlanId, now_ns: int) -> Tx:
        shares = order.share(signed.fee_sats)
        cost = cost_of(order, found)
        tx = Tx(
            plan=plan,
            purpose=order.purpose,
            state=TxState.SIGNED,
            txid=signed.txid,
            raw=signed.raw,
            fee_sats=signed.fee_sats,
            inputs=tuple(str(coin.outpoint) for coin in found.inputs),
            jobs=order.jobs,
            shares=shares.shares,
            due_sats=shares.due_sats,
            cost_sats=cost,
            cost_done=cost == 0,
            created_ns=now_ns,
            change=found.change,
            title=str(order.title or ""),
            causes=telemetry.traceparents_of(order.jobs),
        )
        try:
            self._books.remember(await self._books.records.txs.create(tx))
        except Exists as taken:
            raise NotLeader("another leader gave this plan up") from taken
        return tx

    async def adopt_outputs(self, tx: Tx) -> None:
        """Makes coins of the outputs that are ours: change, and the title in the first place."""
        outputs = parse_transaction(tx.raw).outputs
        for vout in range(len(outputs) - tx.change, len(outputs)):
            point = Outpoint(tx.txid, vout)
            await self._books.add_coin(Coin(point, outputs[vout].sats, CHANGE, CoinState.FREE))
        if tx.title:
            path = KeyPath.parse(tx.title)
            await self._books.add_coin(Coin(Outpoint(tx.txid, 0), Sats(1), path, CoinState.FREE))

    def spent_by(self, tx: Tx) -> list[Output]:
        """The outputs that it spends, in order; none where one of them is not known, as a title's is not."""
        kept = [self._books.coins.get(Outpoint.parse(point)) for point in tx.inputs]
        coins = [coin.value for coin in kept if coin is not None and not coin.value.is_title]
        return [
            Output(coin.sats, self._keys.key(coin.path).script) for coin in coins if len(coins) == len(kept)
        ]

    async def recover(self) -> None:
        """Finishes or gives up what a crash left half done, coins first."""
        await self._freezing.load()
        await self._rejecting.recover()
        for kept in list(self._books.txs.values()):
            await self.adopt_outputs(kept.value)
            await self._claim_inputs(kept.value)
        for coin in list(self._books.coins.values()):
            if coin.value.state is CoinState.RESERVED and coin.value.plan not in self._books.txs:
                tx = await self.settled(coin.value.plan)
                final = tx is not None and tx.state is TxState.FINAL
                after = replace(coin.value, state=CoinState.SPENT) if final else freed(coin.value)
                await self._books.put_coins([(coin, after)])

    async def _claim_inputs(self, tx: Tx) -> None:
        """A lost write of the store may show a coin as free that a transaction spends."""
        if tx.state in GIVEN_UP:
            return
        kept = [self._books.coins.get(Outpoint.parse(point)) for point in tx.inputs]
        await self._books.put_coins(
            (coin, replace(coin.value, state=CoinState.RESERVED, plan=tx.plan))
            for coin in kept
            if coin is not None and coin.value.state is CoinState.FREE
        )

    async def settled(self, plan: PlanId) -> Tx | None:
        """The transaction of a plan; if there is none, there never will be: the plan is given up."""
        if not plan:
            return None
        found = await self._books.records.txs.ensure(
            Tx(plan=plan, purpose=Purpose.WALLET, state=TxState.ABANDONED, open=0)
        )
        return None if found.value.state in GIVEN_UP else found.value

    async def finish(self, tx: Tx) -> None:
        """A transaction is deep enough: its coins are spent for good."""
        async with self._books.changing():
            spent = [self._books.coins.get(Outpoint.parse(point)) for point in tx.inputs]
            await self._books.put_coins(
                (kept, replace(kept.value, state=CoinState.SPENT)) for kept in spent if kept is not None
            )
            await self._books.put_tx(self._books.txs[tx.plan], replace(tx, state=TxState.FINAL, open=0))

    async def reopened(self, tx: Tx) -> Kept[Tx]:
        """A transaction that was final lost its block: its coins are its own again.

        The caller holds `changing`. The transaction itself is returned as it is on record, so that a crash
        finds it final, as it was.
        """
        log.error("a final transaction was orphaned", txid=tx.txid, purpose=tx.purpose)
        spent = await self._books.records.coins.get_many(tx.inputs)
        await self._books.put_coins(
            (kept, replace(kept.value, state=CoinState.RESERVED, plan=tx.plan)) for kept in spent.values()
        )
        kept = await self._books.records.txs.get(tx.plan)
        if kept is None:
            raise HalfDone(f"the record of {tx.txid} is missing")
        return kept
