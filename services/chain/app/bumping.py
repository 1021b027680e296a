"""Paying more for what miners leave lying: a child that spends our change and pays for both (CPFP).

Never twice for the same parent: while a child is open, everything unmined below it counts as helped.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh import logs
from services.chain.app.books import Books
from services.chain.app.fees import FeeRate
from services.chain.app.floats import Float
from services.chain.app.orders import Order, nothing
from services.chain.app.wallet import Wallet
from services.chain.domain.entities import Coin, Tx
from services.chain.domain.keys import KeyUse
from services.chain.domain.spending import CHANGE_BYTES, INPUT_BYTES_MAX, OVERHEAD_BYTES, fee_for
from services.chain.domain.states import TxState
from services.chain.domain.values import PlanId, Purpose

CHILD_BYTES = OVERHEAD_BYTES + INPUT_BYTES_MAX + CHANGE_BYTES

log = logs.logger(__name__)


@dataclass(frozen=True, slots=True)
class BumpRule:
    """When a transaction is stuck: so many blocks came without it (0: never), and what is done then.

    Parent and child together reach `sats_per_kb`, or what miners ask by now if that is more; the child pays
    at most `fee_max_sats`.
    """

    after_blocks: int = 6
    sats_per_kb: int = 500
    fee_max_sats: int = 2_000


class Bumping:
    """Makes children for stuck transactions. The float pays."""

    def __init__(self, *, books: Books, wallet: Wallet, float_: Float, rule: BumpRule, fees: FeeRate) -> None:
        self._books = books
        self._wallet = wallet
        self._float = float_
        self._rule = rule
        self._fees = fees

    async def next(self) -> Tx | None:
        """The next child, signed; None where none is needed or would help, or the float does not cover it."""
        if self._wallet.frozen:
            return None
        helped = self._helped()
        for tx in self.stuck():
            if tx.plan not in helped and (order := self._order(tx)) is not None:
                return await self._float.make(order)
        return None

    def stuck(self) -> list[Tx]:
        """What a node has, and blocks go by without; the oldest first."""
        return [
            tx
            for tx in self._books.live()
            if tx.state is TxState.SEEN
            and tx.purpose is not Purpose.BUMP
            and 0 < self._rule.after_blocks <= self._books.blocks_waited(tx)
        ]

    def _helped(self) -> set[PlanId]:
        return {
            below.plan
            for child in self._books.live()
            if child.purpose is Purpose.BUMP
            for below in self._books.unmined_below(child)
        }

    def _order(self, tx: Tx) -> Order | None:
        coin = self._change_above(tx)
        if coin is None:
            log.warning("stuck, and no change of ours to spend", txid=tx.txid)
            return None
        package = self._package(coin)
        paid = sum(one.fee_sats for one in package)
        rate = max(self._rule.sats_per_kb, self._fees.sats_per_kb)
        wanted = fee_for(sum(len(one.raw) for one in package) + CHILD_BYTES, rate) - paid
        plain = fee_for(CHILD_BYTES, self._fees.sats_per_kb)
        if wanted <= plain:
            log.warning("stuck, though it pays enough", txid=tx.txid, package=len(package), fee_sats=paid)
            return None
        fee = min(wanted, self._rule.fee_max_sats)
        if fee <= plain:
            return None
        log.warning("stuck: a child pays more", txid=tx.txid, wanted_sats=wanted, fee_sats=fee)
        return Order(
            Purpose.BUMP,
            jobs=(tx.plan,),
            outputs=(),
            assign=nothing,
            fixed=(self._wallet.as_spendable(coin),),
            extra_sats=fee - plain,
        )

    def _change_above(self, tx: Tx) -> Coin | None:
        """Unspent change of it or of what stands on it: on the fewest others, then the largest."""
        found = [
            kept.value
            for kept in self._books.coins.values()
            if kept.value.is_free
            and kept.value.path.use is KeyUse.CHANGE
            and any(below.plan == tx.plan for below in self._package(kept.value))
        ]
        found.sort(key=lambda coin: (len(self._package(coin)), -coin.sats, coin.outpoint))
        return found[0] if found else None

    def _package(self, coin: Coin) -> list[Tx]:
        """The unmined transactions that the coin stands on."""
        kept = self._books.tx_of(coin.outpoint.txid)
        return [] if kept is None else self._books.unmined_below(kept.value)
