"""Expiry: what is over is written down, its place or money freed, and told.

Nothing depends on this being in time: whoever reads or claims looks at the clock.
"""

from __future__ import annotations

from mesh import logs
from mesh.clock import NS_PER_S, Clock
from mesh.errors import Failure
from services.market.app.bidding import Bidding
from services.market.app.ports import Listings, Offers
from services.market.app.selling import Selling
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import minute_of

log = logs.logger(__name__)

SWEEP_INTERVAL_S = 1.0
# By so much clocks of instances may differ: what another one made or reopened for a minute just past.
OVERLAP_MINUTES = 2
FULL_INTERVAL_S = 3_600


class Expiry:
    """Looks for what is over, minute by minute, and now and then through all. Any number may run."""

    def __init__(
        self, *, listings: Listings, offers: Offers, selling: Selling, bidding: Bidding, clock: Clock
    ) -> None:
        self._listings = listings
        self._offers = offers
        self._selling = selling
        self._bidding = bidding
        self._clock = clock
        self._from_minute = 0
        self._full_due_ns = 0

    async def run(self) -> None:
        """Sweeps for ever."""
        while True:
            try:
                await self.sweep()
            except Failure as failure:
                log.warning("expiry is waiting", reason=failure.reason, why=failure.message)
            await self._clock.sleep(SWEEP_INTERVAL_S)

    async def sweep(self) -> None:
        """Ends all that is over by now."""
        now_ns = self._clock.now_ns()
        minute = minute_of(now_ns)
        if now_ns >= self._full_due_ns:
            await self._end(
                now_ns,
                await self._listings.in_state(ListingState.OPEN),
                await self._offers.in_state(OfferState.OPEN),
            )
            self._full_due_ns = now_ns + FULL_INTERVAL_S * NS_PER_S
        else:
            for past in range(self._from_minute, minute + 1):
                await self._end(
                    now_ns, await self._listings.expiring(past), await self._offers.expiring(past)
                )
        self._from_minute = minute - OVERLAP_MINUTES

    async def _end(self, now_ns: int, listings: list[Listing], offers: list[Offer]) -> None:
        for listing in listings:
            if listing.as_of(now_ns).is_closed:
                await self._selling.expire(listing.id)
        for offer in offers:
            if offer.as_of(now_ns).is_closed:
                await self._bidding.expire(offer.id)
