"""Settlement: from a claimed listing to a sale, or back; the same steps for a first try and after any crash.

1. the listing is SETTLING (claimed by one purchase)
2. the ledger makes all transfers or none; their ids come from the sale, and the ledger answers an id once:
   a repetition changes nothing, and what it refused cannot be made by a copy of the request that comes late
3. the sale is recorded (create-only), numbered within its meme
4. the meme's quote counts the sale and frees the meme's place, in one change
5. the listing is SOLD
6. the outbox tells the news and has the title moved on chain

Whatever step a crash comes after, repeating all of them ends in the same place.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import Clock
from mesh.errors import Failure, IdReused
from services.market.app.ports import Ledger, Listings, News, Quotes, Refusal, Refused, Sales
from services.market.domain.failures import (
    InsufficientFunds,
    NotOwner,
    SettlementFault,
)
from services.market.domain.listings import Attempt, Listing, ListingState
from services.market.domain.sales import Sale, sale_of, settlement


class Settlement:
    """Ends what a purchase began."""

    def __init__(
        self,
        *,
        listings: Listings,
        sales: Sales,
        quotes: Quotes,
        ledger: Ledger,
        news: News,
        clock: Clock,
        wake_outbox: Callable[[], None],
    ) -> None:
        self._listings = listings
        self._sales = sales
        self._quotes = quotes
        self._ledger = ledger
        self._news = news
        self._clock = clock
        self._wake_outbox = wake_outbox

    async def settle(self, listing: Listing, attempt: Attempt) -> Sale:
        """The sale that the attempt becomes.

        Raises InsufficientFunds, NotOwner, IdReused, SettlementFault when nothing moved; Unavailable when
        that is not known.
        """
        refused = await self._ledger.settle(settlement(listing, attempt))
        if refused is None:
            return await self._finish(listing, attempt)
        if refused.refusal is Refusal.NOT_OWNER:
            await self._close(listing, attempt)
        else:
            await self._reopen(listing, attempt)
        raise _failure(listing, refused)

    async def _finish(self, listing: Listing, attempt: Attempt) -> Sale:
        quote = await self._quotes.get(listing.meme_id)
        sale = await self._sales.create(
            sale_of(listing, attempt, number=quote.sales + 1, now_ns=self._clock.now_ns())
        )
        await self._quotes.change(listing.meme_id, lambda quote: quote.counting(sale))
        await self._listings.change(
            listing.id,
            lambda found: found.sold(sale.id, sale.sold_ns) if found.attempt == attempt else found,
        )
        self._wake_outbox()
        return sale

    async def _reopen(self, listing: Listing, attempt: Attempt) -> None:
        await self._listings.change(
            listing.id, lambda found: found.reopened() if found.attempt == attempt else found
        )

    async def _close(self, listing: Listing, attempt: Attempt) -> None:
        now_ns = self._clock.now_ns()
        closed = await self._listings.change(
            listing.id, lambda found: found.cancelled(now_ns) if found.attempt == attempt else found
        )
        if closed is not None and closed.state is ListingState.CANCELLED:
            await self._quotes.change(listing.meme_id, lambda quote: quote.freed_by(listing.id))
            self._news.listing(closed)


def _failure(listing: Listing, refused: Refused) -> Failure:
    match refused.refusal:
        case Refusal.INSUFFICIENT_FUNDS:
            return InsufficientFunds(refused.detail, needed=listing.price_sats)
        case Refusal.NOT_OWNER:
            return NotOwner("the seller does not own the title any more; the listing is closed")
        case Refusal.ID_REUSED:
            return IdReused()
        case Refusal.FAULT:
            return SettlementFault(refused.detail)
