"""What the operator's float pays for: made only while the float covers it."""

from __future__ import annotations

from mesh import logs, telemetry
from mesh.clock import Clock
from services.chain.app.costs import cost_of
from services.chain.app.orders import Order
from services.chain.app.ports import Ledger
from services.chain.app.wallet import Wallet
from services.chain.domain.entities import Tx
from services.chain.domain.values import FLOAT_USER

SAY_EVERY_S = 10.0

log = logs.logger(__name__)

_waits = telemetry.counter(
    "chain.float.waits",
    "Times that something had to wait because the float was too low.",
    unit="{wait}",
    by=("purpose",),
)


class Float:
    """The operator's money for fees and inscriptions."""

    def __init__(self, *, wallet: Wallet, ledger: Ledger, clock: Clock) -> None:
        self._wallet = wallet
        self._ledger = ledger
        self._clock = clock
        self._said_s = float("-inf")

    async def make(self, order: Order) -> Tx | None:
        """The transaction, or None while the float does not cover it. Raises WalletEmpty."""
        needed = cost_of(order, self._wallet.draft(order))
        available = await self._ledger.available_sats(FLOAT_USER)
        if available < needed:
            _waits.add(1, {"purpose": order.purpose})
            self._say(order, available, needed)
            return None
        return await self._wallet.make(order)

    def _say(self, order: Order, available: int, needed: int) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s >= SAY_EVERY_S:
            self._said_s = now_s
            log.warning(
                "float too low: pay to the float address",
                purpose=order.purpose,
                available_sats=available,
                needed_sats=needed,
            )
