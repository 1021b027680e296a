"""Settlement: from a claim to a sale, the same steps for a first try and after any crash.

1. the listing, or the offer, is SETTLING: claimed by one attempt; its meme's place is held by it
2. the ledger moves all or nothing; ids come from the sale, and the ledger answers an id once: a repetition
   changes nothing, and what it refused cannot be done by a copy of the request that comes late
3. the sale is recorded (create-only), numbered within its meme
4. its candles hold it
5. the meme's quote counts it and frees the meme's place, in one change
6. the listing is SOLD, the offer ACCEPTED
7. the outbox tells the news, closes offers to the former owner, and has the title moved on chain

Whatever step a crash comes after, repeating all of them ends in the same place.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import Clock
from mesh.errors import Failure, IdReused
from services.market.app.ports import Candles, Ledger, Quotes, Refusal, Refused, Sales
from services.market.domain.deals import Deal, Holder, settlement
from services.market.domain.failures import (
    InsufficientFunds,
    NotOwner,
    OfferClosed,
    SettlementFault,
)
from services.market.domain.sales import Sale
from services.market.domain.states import OfferState


class Settlement:
    """Steps 2 to 5, which purchases and acceptances share."""

    def __init__(
        self,
        *,
        sales: Sales,
        quotes: Quotes,
        candles: Candles,
        ledger: Ledger,
        clock: Clock,
        wake_outbox: Callable[[], None],
    ) -> None:
        self._sales = sales
        self._quotes = quotes
        self._candles = candles
        self._ledger = ledger
        self._clock = clock
        self._wake_outbox = wake_outbox

    async def settle(self, deal: Deal, holder: Holder) -> Sale:
        """The sale that the deal becomes; the holder has its meme's place.

        Raises InsufficientFunds, NotOwner, OfferClosed, IdReused, SettlementFault when nothing moved;
        Unavailable when that is not known.
        """
        refused = await self._ledger.carry_out(settlement(deal))
        if refused is not None:
            raise failure(refused, deal.price_sats)
        quote = await self._quotes.get(deal.meme_id)
        sale, _ = await self._sales.create(quote.next_sale(deal, self._clock.now_ns()))
        await self._candles.add(sale)
        await self._quotes.change(deal.meme_id, lambda quote: quote.counting(sale, holder))
        self._wake_outbox()
        return sale


def failure(refused: Refused, needed_sats: int) -> Failure:
    """What the caller is told when the ledger moved nothing."""
    match refused.refusal:
        case Refusal.INSUFFICIENT_FUNDS:
            return InsufficientFunds(refused.detail, needed=needed_sats)
        case Refusal.NOT_OWNER:
            return NotOwner("the seller does not own the title any more")
        case Refusal.ID_REUSED:
            return IdReused()
        case Refusal.HOLD_GONE:
            return OfferClosed(state=OfferState.EXPIRED.upper())
        case Refusal.FAULT:
            return SettlementFault(refused.detail)
