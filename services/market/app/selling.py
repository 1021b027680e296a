"""Selling: listings are made and taken back."""

from __future__ import annotations

from mesh.clock import Clock
from mesh.errors import Aborted, IdReused
from services.market.app.ports import Ledger, Listings, News, Quotes
from services.market.domain.failures import AlreadyListed, ListingClosed, ListingNotFound, NotOwner, NotSeller
from services.market.domain.listings import (
    Listing,
    ListingId,
    ListingState,
    MemeId,
    UserId,
    new_listing,
)

# Each round frees the meme's place of a listing that is over; more than a few means that others fight for it.
_PLACE_ATTEMPTS_MAX = 4


class Selling:
    """Makes and cancels listings. A meme has one listing at a time that is not closed."""

    def __init__(
        self, *, listings: Listings, quotes: Quotes, ledger: Ledger, news: News, clock: Clock
    ) -> None:
        self._listings = listings
        self._quotes = quotes
        self._ledger = ledger
        self._news = news
        self._clock = clock

    async def create(
        self, *, listing_id: ListingId, meme_id: MemeId, seller_id: UserId, price_sats: int
    ) -> Listing:
        """Offers a title. Raises PriceTooLow, IdReused, TitleNotFound, NotOwner, AlreadyListed."""
        asked = new_listing(
            listing_id=listing_id,
            meme_id=meme_id,
            seller_id=seller_id,
            price_sats=price_sats,
            now_ns=self._clock.now_ns(),
        )
        found = await self._listings.get(listing_id)
        if found is not None:
            return _same(found, asked)
        owner_id = await self._ledger.owner(meme_id)
        if owner_id != seller_id:
            raise NotOwner(owner_id=owner_id)
        return _same(await self._placed(asked), asked)

    async def cancel(self, listing_id: ListingId, *, user_id: UserId, is_admin: bool) -> Listing:
        """Takes a listing back. Raises ListingNotFound, NotSeller, ListingClosed."""

        def decide(listing: Listing) -> Listing:
            if listing.seller_id != user_id and not is_admin:
                raise NotSeller
            if listing.state is ListingState.CANCELLED:
                return listing
            if listing.state is not ListingState.OPEN:
                raise ListingClosed(state=listing.state.upper())
            return listing.cancelled(self._clock.now_ns())

        before = await self._listings.get(listing_id)
        listing = await self._listings.change(listing_id, decide)
        if before is None or listing is None:
            raise ListingNotFound
        await self._free_place(listing)
        if not before.is_closed:
            self._news.listing(listing)
        return listing

    async def _placed(self, asked: Listing) -> Listing:
        """The listing, made from what holds its meme's place: after a crash, an earlier request."""
        holder = await self._take_place(asked)
        listing, made_now = await self._listings.create(holder)
        if not listing.same_offer(holder):
            # The id was used for another meme at the same moment: that listing stands, this place is free.
            await self._free_place(holder)
        elif made_now:
            self._news.listing(listing)
        return listing

    async def _take_place(self, asked: Listing) -> Listing:
        for _ in range(_PLACE_ATTEMPTS_MAX):
            quote = await self._quotes.change(asked.meme_id, lambda quote: quote.taken_by(asked))
            holder = quote.place
            if holder is None or holder.id == asked.id:
                return holder or asked
            standing, _ = await self._listings.create(holder)
            if not await self._is_over(standing, asked):
                raise AlreadyListed(listing_id=holder.id)
            await self._free_place(holder)
        raise Aborted("others are listing the same title")

    async def _is_over(self, standing: Listing, asked: Listing) -> bool:
        """Whether a listing holds its place for nothing; ends it if its seller has lost the title."""
        if standing.meme_id != asked.meme_id or standing.state is ListingState.CANCELLED:
            return True
        if standing.state is not ListingState.OPEN or standing.seller_id == asked.seller_id:
            return False
        ended = await self._listings.change(
            standing.id,
            lambda listing: (
                listing.cancelled(self._clock.now_ns()) if listing.state is ListingState.OPEN else listing
            ),
        )
        return ended is not None and ended.state is ListingState.CANCELLED

    async def _free_place(self, listing: Listing) -> None:
        await self._quotes.change(listing.meme_id, lambda quote: quote.freed_by(listing.id))


def _same(standing: Listing, asked: Listing) -> Listing:
    if not standing.same_offer(asked):
        raise IdReused
    return standing
