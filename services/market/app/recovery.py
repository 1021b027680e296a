"""Recovery: ends what a crash, or a ledger that was away, left unfinished, by the steps of the first try."""

from __future__ import annotations

from collections.abc import Awaitable

from mesh import logs
from mesh.clock import NS_PER_S, Clock
from mesh.errors import Failure
from services.market.app.accepting import Accepting
from services.market.app.bidding import Bidding
from services.market.app.buying import Buying
from services.market.app.ports import Listings, Offers
from services.market.domain.states import ListingState, OfferState

log = logs.logger(__name__)

RECOVERY_INTERVAL_S = 2.0
# A younger one may still be in its caller's hands. Ending it twice would be safe, and a waste.
RECOVER_AFTER_S = 6.0


class Recovery:
    """Ends purchases, acceptances and offers whose caller is gone. Any number of instances may run it."""

    def __init__(
        self,
        *,
        listings: Listings,
        offers: Offers,
        buying: Buying,
        accepting: Accepting,
        bidding: Bidding,
        clock: Clock,
    ) -> None:
        self._listings = listings
        self._offers = offers
        self._buying = buying
        self._accepting = accepting
        self._bidding = bidding
        self._clock = clock

    async def run(self) -> None:
        """Ends at once what the last process left behind, then whatever stays unfinished for too long."""
        await self._guarded(age_s=0)
        while True:
            await self._clock.sleep(RECOVERY_INTERVAL_S)
            await self._guarded(age_s=RECOVER_AFTER_S)

    async def recover(self, *, age_s: float) -> None:
        """Tries to end all that is at least this old."""
        now_ns, age_ns = self._clock.now_ns(), round(age_s * NS_PER_S)

        def is_old(at_ns: int) -> bool:
            # What is from the future was begun before a clock was set back.
            return abs(now_ns - at_ns) >= age_ns

        for listing in await self._listings.in_state(ListingState.SETTLING):
            if listing.attempt is not None and is_old(listing.attempt.claimed_ns):
                await self._try("purchase", listing.id, self._buying.settle(listing, listing.attempt))
        for offer in await self._offers.in_state(OfferState.SETTLING):
            if offer.attempt is not None and is_old(offer.attempt.claimed_ns):
                await self._try("acceptance", offer.id, self._accepting.settle(offer, offer.attempt))
        for offer in await self._offers.in_state(OfferState.PENDING):
            if is_old(offer.created_ns):
                await self._try("offer", offer.id, self._bidding.secure(offer))
        for offer in await self._offers.due():
            if is_old(offer.closed_ns):
                await self._try("release", offer.id, self._bidding.free(offer))

    async def _try(self, what: str, id_: str, work: Awaitable[object]) -> None:
        try:
            await work
            log.info("recovered", what=what, id=id_)
        except Failure as failure:
            log.info("not recovered", what=what, id=id_, reason=failure.reason, why=failure.message)

    async def _guarded(self, *, age_s: float) -> None:
        try:
            await self.recover(age_s=age_s)
        except Failure as failure:
            log.warning("recovery is waiting", reason=failure.reason, why=failure.message)
