"""A meme's place: whoever holds it, and nobody else, may sell the title next.

An open listing holds it until it is closed, an offer while it is being accepted. It is one field of the
meme's quote, so it is taken and freed by a single change; what a crash left behind there is found by whoever
comes next.
"""

from __future__ import annotations

from mesh.clock import Clock
from mesh.errors import Aborted
from services.market.app.ports import Ledger, Listings, News, Offers, Quotes
from services.market.domain.deals import Acceptance, Holder
from services.market.domain.listings import Listing
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import MemeId, UserId

# Each round frees the place of a holder that is over; more than a few means that others fight for it.
ATTEMPTS_MAX = 4


class Places:
    """Takes and frees the places of memes."""

    def __init__(
        self,
        *,
        listings: Listings,
        offers: Offers,
        quotes: Quotes,
        ledger: Ledger,
        news: News,
        clock: Clock,
    ) -> None:
        self._listings = listings
        self._offers = offers
        self._quotes = quotes
        self._ledger = ledger
        self._news = news
        self._clock = clock

    async def take(self, meme_id: MemeId, holder: Holder, seller_id: UserId) -> Holder:
        """Who holds the place now: this holder, or the one who keeps it from them.

        An acceptance ends the seller's open listing. Raises Aborted when too many others want it.
        """
        for _ in range(ATTEMPTS_MAX):
            quote = await self._quotes.change(meme_id, lambda quote: quote.taken_by(holder))
            standing = quote.place or holder
            if standing.key == holder.key or not await self._is_over(meme_id, standing, holder, seller_id):
                return standing
            await self.free(meme_id, standing)
        raise Aborted("others are selling the same title")

    async def free(self, meme_id: MemeId, holder: Holder) -> None:
        """Lets others have the place, if it is the holder's."""
        await self._quotes.change(meme_id, lambda quote: quote.freed_by(holder))

    async def _is_over(
        self, meme_id: MemeId, standing: Holder, taker: Holder, taker_seller_id: UserId
    ) -> bool:
        """Whether the standing holder has the place for nothing; ends it if it should give way."""
        if isinstance(standing, Acceptance):
            offer = await self._offers.get(standing.offer_id)
            settling = offer is not None and offer.state is OfferState.SETTLING
            return not settling or offer is None or offer.attempt != standing.attempt
        # After a crash between place and record the holder is all there is of the listing.
        found, _ = await self._listings.create(standing)
        listing = found.as_of(self._clock.now_ns())
        if found.meme_id != meme_id or found.is_closed:
            return True
        if listing.state is ListingState.SETTLING:
            return False
        if listing.state is ListingState.OPEN:
            gives_way = isinstance(taker, Acceptance) and listing.seller_id == taker_seller_id
            lost = listing.seller_id != taker_seller_id and await self._has_lost(listing)
            if not gives_way and not lost:
                return False
        return await self._ended(listing)

    async def _has_lost(self, listing: Listing) -> bool:
        return await self._ledger.owner(listing.meme_id) != listing.seller_id

    async def _ended(self, listing: Listing) -> bool:
        """Closes a listing that nobody is buying; whether it is closed now."""
        now_ns = self._clock.now_ns()

        def decide(found: Listing) -> Listing:
            found = found.as_of(now_ns)
            return found.cancelled(now_ns) if found.state is ListingState.OPEN else found

        change = await self._listings.change(listing.id, decide)
        if change is not None and change.made:
            self._news.listing(change.after)
        return change is not None and change.after.is_closed
