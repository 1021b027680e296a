"""Buying: a purchase claims a listing, then settles it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from mesh.clock import Clock
from mesh.errors import Failure, IdReused
from services.market.app.places import Places
from services.market.app.ports import Ledger, Listings, News, Sales
from services.market.app.settlement import Settlement
from services.market.domain.deals import purchase
from services.market.domain.failures import (
    InsufficientFunds,
    ListingClosed,
    ListingNotFound,
    NotOwner,
    PriceChanged,
    SelfPurchase,
    SettlementFault,
)
from services.market.domain.listings import Listing
from services.market.domain.sales import Sale
from services.market.domain.states import ListingState
from services.market.domain.values import (
    Attempt,
    ListingId,
    SaleId,
    UserId,
    check_id_fresh,
    check_id_time,
)


class Buying:
    """Buys listed titles."""

    def __init__(
        self,
        *,
        listings: Listings,
        sales: Sales,
        ledger: Ledger,
        places: Places,
        settlement: Settlement,
        news: News,
        clock: Clock,
    ) -> None:
        self._listings = listings
        self._sales = sales
        self._ledger = ledger
        self._places = places
        self._settlement = settlement
        self._news = news
        self._clock = clock

    async def purchase(
        self, *, sale_id: SaleId, listing_id: ListingId, buyer_id: UserId, expected_price_sats: int
    ) -> Sale:
        """Money and title change hands, or nothing does. Repeating it with the same id answers the same sale.

        Raises ListingNotFound, ListingClosed, PriceChanged, SelfPurchase, InsufficientFunds, NotOwner,
        IdReused; and Unavailable when the outcome is not known: the listing stays SETTLING until it is.
        """
        check_id_time(sale_id, self._clock.now_ns())
        asked = (listing_id, buyer_id, expected_price_sats)
        done = await self._done(sale_id, *asked)
        if done is not None:
            await self._finished(listing_id, sale_id)
            return done
        check_id_fresh(sale_id, self._clock.now_ns())
        listing = await self._listings.get(listing_id)
        if listing is None:
            raise ListingNotFound
        if listing.seller_id == buyer_id:
            raise SelfPurchase
        if listing.attempt is None or listing.attempt.sale_id != sale_id:
            try:
                listing = await self._claimed(listing, sale_id, buyer_id, expected_price_sats)
            except ListingClosed:
                # By this very sale, if the same call came twice at once.
                done = await self._done(sale_id, *asked)
                if done is None:
                    raise
                return done
        attempt = listing.attempt
        if attempt is None or (attempt.buyer_id, listing.price_sats) != (buyer_id, expected_price_sats):
            raise IdReused
        return await self.settle(listing, attempt)

    async def settle(self, listing: Listing, attempt: Attempt) -> Sale:
        """The sale that the attempt becomes; it has claimed the listing. Raises what `purchase` raises."""
        try:
            sale = await self._settlement.settle(purchase(listing, attempt), listing)
        except NotOwner:
            await self._undo(listing, attempt, lambda found, now: found.cancelled(now))
            raise
        except (InsufficientFunds, IdReused, SettlementFault):
            await self._undo(listing, attempt, lambda found, now: found.reopened(now))
            raise
        await self._move(listing, attempt, lambda found: found.sold(sale.id, sale.sold_ns))
        return sale

    async def _finished(self, listing_id: ListingId, sale_id: SaleId) -> None:
        """A call that broke off behind the sale left its listing SETTLING, and the title's place taken.

        Whoever is told that the sale is made may list the title at once; if this fails, the sweeper does it.
        """
        listing = await self._listings.get(listing_id)
        if listing is None or listing.state is not ListingState.SETTLING or listing.attempt is None:
            return
        if listing.attempt.sale_id == sale_id:
            with suppress(Failure):
                await self.settle(listing, listing.attempt)

    async def _done(
        self, sale_id: SaleId, listing_id: ListingId, buyer_id: UserId, price_sats: int
    ) -> Sale | None:
        """The sale, if it is made. Raises IdReused when it is another one."""
        sale = await self._sales.get(sale_id)
        asked = (listing_id, buyer_id, price_sats)
        if sale is not None and (sale.listing_id, sale.buyer_id, sale.price_sats) != asked:
            raise IdReused
        return sale

    async def _claimed(
        self, listing: Listing, sale_id: SaleId, buyer_id: UserId, expected_price_sats: int
    ) -> Listing:
        """The listing with this sale's attempt. Raises ListingClosed, PriceChanged, InsufficientFunds."""
        _check_open(listing, expected_price_sats, self._clock.now_ns())
        # Asked first so that someone without the money cannot keep a listing from others for a moment.
        available_sats = await self._ledger.available_sats(buyer_id)
        if available_sats < listing.price_sats:
            raise InsufficientFunds(available=available_sats, needed=listing.price_sats)

        def decide(found: Listing) -> Listing:
            if found.attempt is not None and found.attempt.sale_id == sale_id:
                return found
            now_ns = self._clock.now_ns()
            _check_open(found, expected_price_sats, now_ns)
            return found.claimed(Attempt(sale_id, buyer_id, now_ns))

        change = await self._listings.change(listing.id, decide)
        if change is None:
            raise ListingNotFound
        return change.after

    async def _undo(
        self, listing: Listing, attempt: Attempt, move: Callable[[Listing, int], Listing]
    ) -> None:
        """After the ledger refused: open again, or closed, the place free, and told."""
        now_ns = self._clock.now_ns()
        after = await self._move(listing, attempt, lambda found: move(found, now_ns))
        if after is not None and after.is_closed:
            await self._places.free(listing.meme_id, after)
            self._news.listing(after)

    async def _move(
        self, listing: Listing, attempt: Attempt, move: Callable[[Listing], Listing]
    ) -> Listing | None:
        """The listing moved on, if the attempt still has it."""
        change = await self._listings.change(
            listing.id, lambda found: move(found) if found.attempt == attempt else found
        )
        return change.after if change is not None and change.made else None


def _check_open(listing: Listing, expected_price_sats: int, now_ns: int) -> None:
    """Raises ListingClosed, PriceChanged unless it can be claimed at this time and price."""
    standing = listing.as_of(now_ns)
    if standing.state is not ListingState.OPEN:
        raise ListingClosed(state=standing.state.upper())
    if standing.price_sats != expected_price_sats:
        raise PriceChanged(price=standing.price_sats)
