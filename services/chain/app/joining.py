"""Joining small coins: a transaction has INPUTS_MAX inputs, and what many paid in may be one withdrawal."""

from __future__ import annotations

from mesh import logs
from services.chain.app.floats import Float
from services.chain.app.orders import Order, nothing
from services.chain.app.wallet import Wallet
from services.chain.domain.entities import Tx
from services.chain.domain.spending import INPUTS_MAX
from services.chain.domain.values import Purpose

log = logs.logger(__name__)


class Joining:
    """Makes one coin of the INPUTS_MAX largest. The float pays the fee."""

    def __init__(self, *, wallet: Wallet, float_: Float) -> None:
        self._wallet = wallet
        self._float = float_

    async def next(self) -> Tx | None:
        """The transaction; None where more coins would not help, or while the float does not cover it."""
        coins = sorted(self._wallet.spendable(), key=lambda coin: (coin.sats, coin.outpoint), reverse=True)
        if self._wallet.frozen or len(coins) <= INPUTS_MAX:
            return None
        log.info("joining coins", coins=len(coins))
        return await self._float.make(
            Order(Purpose.WALLET, jobs=(), outputs=(), assign=nothing, fixed=tuple(coins[:INPUTS_MAX]))
        )
