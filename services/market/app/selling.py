"""Selling: listings are made, changed and closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mesh.clock import Clock
from mesh.errors import IdReused
from services.market.app.places import Places
from services.market.app.ports import Change, Ledger, Listings, News
from services.market.domain.failures import (
    AlreadyListed,
    ListingClosed,
    ListingNotFound,
    NotOwner,
    NotSeller,
    TitleBusy,
    VersionChanged,
)
from services.market.domain.listings import Listing, check_terms, new_listing
from services.market.domain.states import ListingState
from services.market.domain.values import ListingId, MemeId, Sats, Terms, UserId


class Selling:
    """Makes, changes and closes listings. A meme has one at a time that is not closed."""

    def __init__(
        self, *, listings: Listings, places: Places, ledger: Ledger, news: News, clock: Clock
    ) -> None:
        self._listings = listings
        self._places = places
        self._ledger = ledger
        self._news = news
        self._clock = clock

    async def create(
        self, *, listing_id: ListingId, meme_id: MemeId, seller_id: UserId, terms: Terms
    ) -> Listing:
        """Lists a title. Repeating it with the same words answers the same listing.

        Raises PriceTooLow, ExpiryInvalid, IdReused, TitleNotFound, NotOwner, AlreadyListed, TitleBusy.
        """
        now_ns = self._clock.now_ns()
        asked = new_listing(
            listing_id=listing_id, meme_id=meme_id, seller_id=seller_id, terms=terms, now_ns=now_ns
        )
        found = await self._listings.get(listing_id)
        if found is None:
            check_terms(terms, now_ns)
            # Asked first so that nobody else takes the title's place from its owner for a moment.
            await self._check_owner(asked)
            found = await self._placed(asked)
        if not found.same_words(asked):
            raise IdReused
        return found.as_of(self._clock.now_ns())

    async def change(
        self,
        listing_id: ListingId,
        *,
        user_id: UserId,
        expected_version: int,
        price_sats: int | None,
        expires_ns: int | None,
    ) -> Listing:
        """Changes what is given of the terms, if the version is the one expected.

        Who finds exactly that change made gets the listing as it stands. Raises ListingNotFound, NotSeller,
        ListingClosed, VersionChanged, PriceTooLow, ExpiryInvalid.
        """

        def decide(found: Listing) -> Listing:
            if found.seller_id != user_id:
                raise NotSeller
            terms = _changed(found.terms, price_sats, expires_ns)
            if found.version == expected_version + 1 and terms == found.terms:
                return found
            now_ns = self._clock.now_ns()
            _check_open(found, now_ns)
            if found.version != expected_version:
                raise VersionChanged(version=found.version)
            check_terms(terms, now_ns)
            return found if terms == found.terms else found.changed(terms)

        change = await self._changed(listing_id, decide)
        return change.after.as_of(self._clock.now_ns())

    async def cancel(self, listing_id: ListingId, *, user_id: UserId, is_admin: bool) -> Listing:
        """Takes a listing back. Raises ListingNotFound, NotSeller, ListingClosed."""

        def decide(found: Listing) -> Listing:
            if found.seller_id != user_id and not is_admin:
                raise NotSeller
            if found.state is ListingState.CANCELLED:
                return found
            now_ns = self._clock.now_ns()
            _check_open(found, now_ns)
            return found.cancelled(now_ns)

        return await self._closed(listing_id, decide)

    async def expire(self, listing_id: ListingId) -> Listing:
        """Writes down that its time is over, if it is. Raises ListingNotFound."""
        return await self._closed(listing_id, lambda found: found.as_of(self._clock.now_ns()))

    async def _placed(self, asked: Listing) -> Listing:
        """The listing, made from what holds its meme's place: after a crash, an earlier request."""
        holder = await self._places.take(asked.meme_id, asked, asked.seller_id)
        if not isinstance(holder, Listing):
            raise TitleBusy
        if holder.id != asked.id:
            raise AlreadyListed(listing_id=holder.id)
        try:
            # Asked again, since from now on nobody else sells the title.
            await self._check_owner(asked)
        except NotOwner:
            await self._places.free(asked.meme_id, holder)
            raise
        listing, made_now = await self._listings.create(holder)
        if listing.is_closed or not listing.same_words(holder):
            # A repetition that came late, or the id was used for another meme at the same moment.
            await self._places.free(asked.meme_id, holder)
        elif made_now:
            self._news.listing(listing)
        return listing

    async def _check_owner(self, asked: Listing) -> None:
        owner_id = await self._ledger.owner(asked.meme_id)
        if owner_id != asked.seller_id:
            raise NotOwner(owner_id=owner_id)

    async def _closed(self, listing_id: ListingId, decide: Callable[[Listing], Listing]) -> Listing:
        change = await self._changed(listing_id, decide)
        if change.after.is_closed:
            await self._places.free(change.after.meme_id, change.after)
        return change.after

    async def _changed(self, listing_id: ListingId, decide: Callable[[Listing], Listing]) -> Change[Listing]:
        change = await self._listings.change(listing_id, decide)
        if change is None:
            raise ListingNotFound
        if change.made:
            self._news.listing(change.after)
        return change


def _changed(terms: Terms, price_sats: int | None, expires_ns: int | None) -> Terms:
    return replace(
        terms,
        price_sats=terms.price_sats if price_sats is None else Sats(price_sats),
        expires_ns=terms.expires_ns if expires_ns is None else expires_ns,
    )


def _check_open(listing: Listing, now_ns: int) -> None:
    standing = listing.as_of(now_ns)
    if standing.state is not ListingState.OPEN:
        raise ListingClosed(state=standing.state.upper())
