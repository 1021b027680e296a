"""What a transaction costs the operator's float: paid before it is sent, paid back if it is never mined."""

from __future__ import annotations

from dataclasses import replace

from mesh import logs
from services.chain.app.books import Books
from services.chain.app.orders import Order
from services.chain.app.ports import Ledger, Transfer
from services.chain.domain.entities import Tx
from services.chain.domain.keys import KeyUse
from services.chain.domain.spending import Draft
from services.chain.domain.values import COINS_ACCOUNT, FLOAT_USER, PlanId, Sats, derived_id

log = logs.logger(__name__)


def cost_of(order: Order, found: Draft) -> int:
    """What leaves the wallet's money beyond what the ledger posts for the jobs, in satoshis."""
    money = sum(int(coin.sats) for coin in found.inputs if coin.path.use is not KeyUse.TITLE)
    back = sum(int(output.sats) for output in found.outputs[len(found.outputs) - found.change :])
    return money - back - order.share(found.fee_sats).due_sats


class Costs:
    """Has the float pay, and paid back."""

    def __init__(self, *, books: Books, ledger: Ledger) -> None:
        self._books = books
        self._ledger = ledger

    async def pay(self, plan: PlanId) -> bool:
        """Has the float pay what it costs, before it is sent; False while it cannot."""
        kept = self._books.txs.get(plan)
        if kept is None:
            return False
        tx = kept.value
        if tx.cost_done:
            return True
        async with self._books.settling(f"cost:{plan}"):
            tx = self._books.txs[plan].value
            refusal = (await self._ledger.move([_cost(tx)]))[0]
            after = replace(tx, cost_done=True) if refusal is None else _another_try(tx)
            await self._books.put_tx(self._books.txs[plan], after)
        if refusal is not None:
            log.warning("float too low", txid=tx.txid, needed_sats=tx.cost_sats, detail=refusal.detail)
        return refusal is None

    async def refund(self, tx: Tx) -> None:
        """Gives back what the float paid. The caller holds `settling`."""
        if not tx.cost_sats:
            return
        # Whether the float had paid may be in doubt: asking again tells.
        paid = tx.cost_done or (await self._ledger.move([_cost(tx)]))[0] is None
        if paid:
            await self._ledger.move([_cost(tx, back=True)])


def _cost(tx: Tx, *, back: bool = False) -> Transfer:
    """The float pays what the transaction costs it, or gets it back."""
    debit, credit = (COINS_ACCOUNT, FLOAT_USER) if back else (FLOAT_USER, COINS_ACCOUNT)
    id_ = derived_id(tx.created_ns, "refund" if back else "cost", tx.txid, str(tx.cost_tries))
    return Transfer(id_, debit, credit, Sats(tx.cost_sats), f"{tx.purpose}:{tx.txid}")


def _another_try(tx: Tx) -> Tx:
    """The ledger remembers a refusal: the next try needs an id of its own."""
    return replace(tx, cost_tries=tx.cost_tries + 1)
