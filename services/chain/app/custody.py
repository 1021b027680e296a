"""Coins held against what the ledger says must be there."""

from __future__ import annotations

from dataclasses import dataclass

from services.chain.app.books import Books
from services.chain.app.ports import Ledger
from services.chain.domain.states import CoinState


@dataclass(frozen=True, slots=True)
class Custody:
    """Satoshis; `difference_sats` is 0 when every coin is accounted for.

    `cold_sats` is what the ledger says lies at the cold address, beside all of this.
    """

    coins_sats: int
    uncredited_sats: int
    in_flight_sats: int
    unposted_cost_sats: int
    owed_sats: int
    cold_sats: int
    coins: int

    @property
    def difference_sats(self) -> int:
        """What is there too much (positive) or too little (negative)."""
        held = self.coins_sats - self.uncredited_sats + self.in_flight_sats + self.unposted_cost_sats
        return held - self.owed_sats


async def custody(books: Books, ledger: Ledger) -> Custody:
    """One consistent look at both sides. Raises LedgerInDoubt while a call has no known outcome."""
    async with books.changing():
        books.require_settled()
        owed = await ledger.owed_sats()
        coins = [kept.value for kept in books.coins.values() if not kept.value.is_title]
        held = [coin for coin in coins if coin.state in (CoinState.PENDING, CoinState.FREE)]
        # A deposit may be spent by us and undone afterwards: it is uncredited as long as that is unresolved.
        counted = (CoinState.PENDING, CoinState.FREE, CoinState.RESERVED)
        uncredited = [coin for coin in coins if not coin.credited and coin.state in counted]
        # What spends a lost coin, and what that pays, stands on nothing.
        lost = [coin for coin in coins if coin.credited and coin.lost_in and coin.state in counted]
        txs = books.live()
        return Custody(
            coins_sats=sum(coin.sats for coin in held) - sum(coin.sats for coin in lost),
            uncredited_sats=sum(coin.sats for coin in uncredited),
            in_flight_sats=sum(tx.due_sats for tx in txs),
            unposted_cost_sats=sum(tx.cost_sats for tx in txs if not tx.cost_done),
            owed_sats=owed,
            cold_sats=await ledger.cold_sats(),
            coins=len(held),
        )
