"""Joining small coins: a transaction has INPUTS_MAX inputs, and what many paid in may be one withdrawal."""

from __future__ import annotations

from mesh import logs
from services.chain.app.books import Books
from services.chain.app.floats import Float
from services.chain.app.orders import Order, Policy, nothing
from services.chain.app.wallet import Wallet
from services.chain.domain.entities import Tx
from services.chain.domain.spending import INPUTS_MAX, Spendable
from services.chain.domain.states import UNMINED
from services.chain.domain.values import Purpose

log = logs.logger(__name__)


class Joining:
    """Makes one coin of many. The float pays the fee."""

    def __init__(self, *, books: Books, wallet: Wallet, float_: Float, policy: Policy) -> None:
        self._books = books
        self._wallet = wallet
        self._float = float_
        self._policy = policy

    async def next(self) -> Tx | None:
        """Joins the INPUTS_MAX largest, for a withdrawal that needs more.

        None where more coins would not help, or while the float does not cover it.
        """
        coins = self._by_size()
        return None if len(coins) <= INPUTS_MAX else await self._join(coins[-INPUTS_MAX:])

    async def tidy(self) -> Tx | None:
        """Joins the smallest while there are more than `coins_max`: for quiet times, one after the other."""
        coins = self._by_size()
        under_way = any(tx.purpose is Purpose.WALLET and tx.state in UNMINED for tx in self._books.live())
        if under_way or len(coins) <= self._policy.coins_max:
            return None
        return await self._join(coins[: min(INPUTS_MAX, len(coins) - self._policy.coins_max + 1)])

    def _by_size(self) -> list[Spendable]:
        if self._wallet.frozen:
            return []
        return sorted(self._wallet.spendable(), key=lambda coin: (coin.sats, coin.outpoint))

    async def _join(self, coins: list[Spendable]) -> Tx | None:
        log.info("joining coins", coins=len(coins), sats=sum(coin.sats for coin in coins))
        return await self._float.make(
            Order(Purpose.WALLET, jobs=(), outputs=(), assign=nothing, fixed=tuple(coins))
        )
