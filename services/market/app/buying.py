"""Buying: a purchase claims a listing, then settles it."""

from __future__ import annotations

from mesh.clock import Clock
from mesh.errors import IdReused
from services.market.app.ports import Ledger, Listings, Sales
from services.market.app.settlement import Settlement
from services.market.domain.failures import (
    InsufficientFunds,
    ListingClosed,
    ListingNotFound,
    PriceChanged,
    SelfPurchase,
)
from services.market.domain.listings import (
    Attempt,
    Listing,
    ListingId,
    ListingState,
    SaleId,
    UserId,
    check_id_fresh,
    check_id_time,
)
from services.market.domain.sales import Sale


class Buying:
    """Buys titles."""

    def __init__(
        self, *, listings: Listings, sales: Sales, ledger: Ledger, settlement: Settlement, clock: Clock
    ) -> None:
        self._listings = listings
        self._sales = sales
        self._ledger = ledger
        self._settlement = settlement
        self._clock = clock

    async def purchase(
        self, *, sale_id: SaleId, listing_id: ListingId, buyer_id: UserId, expected_price_sats: int
    ) -> Sale:
        """Money and title change hands, or nothing does. Repeating it with the same id answers the same sale.

        Raises ListingNotFound, ListingClosed, PriceChanged, SelfPurchase, InsufficientFunds, NotOwner,
        IdReused; and Unavailable when the outcome is not known: the listing stays SETTLING until it is.
        """
        check_id_time(sale_id, self._clock.now_ns())
        done = await self._sales.get(sale_id)
        if done is not None:
            if (done.listing_id, done.buyer_id, done.price_sats) != (
                listing_id,
                buyer_id,
                expected_price_sats,
            ):
                raise IdReused
            return done
        check_id_fresh(sale_id, self._clock.now_ns())
        listing = await self._listings.get(listing_id)
        if listing is None:
            raise ListingNotFound
        if listing.seller_id == buyer_id:
            raise SelfPurchase
        if listing.price_sats != expected_price_sats:
            raise PriceChanged(price=listing.price_sats)
        if listing.state is ListingState.OPEN:
            return await self._claim_and_settle(listing, sale_id, buyer_id)
        return await self._resume(listing, sale_id, buyer_id)

    async def _claim_and_settle(self, listing: Listing, sale_id: SaleId, buyer_id: UserId) -> Sale:
        # Asked first so that someone without the money cannot keep a listing from others for a moment.
        available_sats = await self._ledger.available_sats(buyer_id)
        if available_sats < listing.price_sats:
            raise InsufficientFunds(available=available_sats, needed=listing.price_sats)
        attempt = Attempt(sale_id, buyer_id, self._clock.now_ns())

        def decide(found: Listing) -> Listing:
            return found.claimed(attempt) if found.state is ListingState.OPEN else found

        claimed = await self._listings.change(listing.id, decide)
        if claimed is None:
            raise ListingNotFound
        if claimed.attempt == attempt:
            return await self._settlement.settle(claimed, attempt)
        return await self._resume(claimed, sale_id, buyer_id)

    async def _resume(self, listing: Listing, sale_id: SaleId, buyer_id: UserId) -> Sale:
        """Goes on with this same purchase if it is the one under way."""
        attempt = listing.attempt
        if attempt is None or attempt.sale_id != sale_id:
            raise ListingClosed(state=listing.state.upper())
        if attempt.buyer_id != buyer_id:
            raise IdReused
        return await self._settlement.settle(listing, attempt)
