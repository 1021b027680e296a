"""Accepting: the owner's acceptance claims an offer, takes the meme's place, then settles it."""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import Clock
from mesh.errors import Failure, IdReused
from services.market.app.bidding import Bidding
from services.market.app.places import Places
from services.market.app.ports import Ledger, Offers, Refusal, Sales
from services.market.app.settlement import Settlement, failure
from services.market.domain.deals import Acceptance, Deal, acceptance, settlement, veto
from services.market.domain.failures import (
    NotOwner,
    OfferClosed,
    OfferNotFound,
    SettlementFault,
    Unsettled,
)
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Sale
from services.market.domain.states import OfferState
from services.market.domain.values import (
    Attempt,
    OfferId,
    SaleId,
    UserId,
    check_id_fresh,
    check_id_time,
)


class Accepting:
    """Sells titles to those who made offers."""

    def __init__(
        self,
        *,
        offers: Offers,
        sales: Sales,
        ledger: Ledger,
        bidding: Bidding,
        places: Places,
        settlement: Settlement,
        clock: Clock,
    ) -> None:
        self._offers = offers
        self._sales = sales
        self._ledger = ledger
        self._bidding = bidding
        self._places = places
        self._settlement = settlement
        self._clock = clock

    async def accept(self, *, sale_id: SaleId, offer_id: OfferId, user_id: UserId) -> Sale:
        """Money and title change hands, or nothing does. Repeating it with the same id answers the same sale.

        Raises OfferNotFound, NotOwner, OfferClosed, IdReused, SettlementFault; and Unavailable when the
        outcome is not known: the offer stays SETTLING until it is.
        """
        check_id_time(sale_id, self._clock.now_ns())
        done = await self._done(sale_id, offer_id, user_id)
        if done is not None:
            return done
        check_id_fresh(sale_id, self._clock.now_ns())
        offer = await self._offers.get(offer_id)
        if offer is None:
            raise OfferNotFound
        if offer.seller_id != user_id:
            raise NotOwner("the offer was made to somebody else", owner_id=offer.seller_id)
        try:
            offer, attempt = await self._claimed(offer, sale_id)
        except OfferClosed:
            # By this very sale, if the same call came twice at once.
            done = await self._done(sale_id, offer_id, user_id)
            if done is None:
                raise
            return done
        return await self.settle(offer, attempt)

    async def settle(self, offer: Offer, attempt: Attempt) -> Sale:
        """The sale that the attempt becomes; it has claimed the offer. Raises what `accept` raises."""
        holder = Acceptance(offer.id, attempt)
        try:
            sale = await self._settled(offer, holder)
        except NotOwner:
            await self._undo(offer, holder, lambda found, now: found.closed(OfferState.SUPERSEDED, now))
            raise
        except OfferClosed:
            await self._undo(offer, holder, lambda found, now: found.closed(OfferState.EXPIRED, now))
            raise
        except (IdReused, SettlementFault):
            await self._undo(offer, holder, lambda found, now: found.opened(now))
            raise
        await self._offers.change(
            offer.id,
            lambda found: found.accepted(sale.id, sale.sold_ns) if found.attempt == attempt else found,
        )
        return sale

    async def _done(self, sale_id: SaleId, offer_id: OfferId, seller_id: UserId) -> Sale | None:
        """The sale, if it is made. Raises IdReused when it is another one."""
        sale = await self._sales.get(sale_id)
        if sale is not None and (sale.offer_id, sale.seller_id) != (offer_id, seller_id):
            raise IdReused
        return sale

    async def _claimed(self, offer: Offer, sale_id: SaleId) -> tuple[Offer, Attempt]:
        """The offer with this sale's attempt. Raises OfferClosed."""

        def decide(found: Offer) -> Offer:
            if found.attempt is not None and found.attempt.sale_id == sale_id:
                return found
            now_ns = self._clock.now_ns()
            standing = found.as_of(now_ns)
            if standing.state is not OfferState.OPEN:
                raise OfferClosed(state=standing.state.upper())
            return found.claimed(Attempt(sale_id, found.buyer_id, now_ns))

        change = await self._offers.change(offer.id, decide)
        if change is None or change.after.attempt is None:
            raise OfferNotFound
        return change.after, change.after.attempt

    async def _settled(self, offer: Offer, holder: Acceptance) -> Sale:
        standing = await self._places.take(offer.meme_id, holder, offer.seller_id)
        deal = acceptance(offer, holder.attempt)
        if standing.key == holder.key:
            return await self._settlement.settle(deal, holder)
        # Perhaps somebody else has settled this very attempt, and the place was free for the next.
        sale = await self._sales.get(holder.attempt.sale_id)
        if sale is not None and sale.offer_id == offer.id:
            return sale
        if isinstance(standing, Listing) and standing.seller_id != offer.seller_id:
            raise await self._lost(deal)
        raise Unsettled("the title is being sold to somebody else, or not: that is known in a moment")

    async def _lost(self, deal: Deal) -> Failure:
        """Why the deal of a seller whose title was sold has failed for ever.

        No late copy of this attempt may settle it if the seller owns the title again: so the ledger is made
        to refuse it. Raises Unsettled when it has settled it before.
        """
        refused = await self._ledger.carry_out(veto(deal))
        if refused is not None and refused.refusal is Refusal.HOLD_GONE:
            return NotOwner("the title has been sold")
        refused = await self._ledger.carry_out(settlement(deal))
        if refused is None:
            raise Unsettled
        return failure(refused, deal.price_sats)

    async def _undo(self, offer: Offer, holder: Acceptance, move: Callable[[Offer, int], Offer]) -> None:
        """After the ledger refused: the place first, for who holds it must be SETTLING."""
        await self._places.free(offer.meme_id, holder)
        now_ns = self._clock.now_ns()
        await self._bidding.close(
            offer, lambda found: move(found, now_ns) if found.attempt == holder.attempt else found
        )
