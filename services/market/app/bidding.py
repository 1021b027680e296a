"""Bidding: offers are made and closed, and their money held and freed.

A new offer is PENDING until the ledger holds its money; a closed one is due until nothing is held for it any
more. Both are told by its record, so that whoever comes after a crash goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh import logs
from mesh.clock import Clock
from mesh.errors import Failure, IdReused
from services.market.app.ports import Ledger, News, Offers, Refusal
from services.market.app.settlement import failure
from services.market.domain.deals import holds, releases
from services.market.domain.failures import (
    InsufficientFunds,
    NotBuyer,
    OfferClosed,
    OfferNotFound,
    SelfPurchase,
    Unsettled,
)
from services.market.domain.offers import Offer, check_new
from services.market.domain.states import OfferState
from services.market.domain.values import MemeId, OfferId, Terms, UserId, check_id_time

log = logs.logger(__name__)


class Bidding:
    """Makes and closes offers."""

    def __init__(self, *, offers: Offers, ledger: Ledger, news: News, clock: Clock) -> None:
        self._offers = offers
        self._ledger = ledger
        self._news = news
        self._clock = clock

    async def make(self, *, offer_id: OfferId, meme_id: MemeId, buyer_id: UserId, terms: Terms) -> Offer:
        """Offers money to the title's owner and holds it. Repeating it with the same words answers the same.

        Raises PriceTooLow, ExpiryInvalid, IdReused, TitleNotFound, SelfPurchase, InsufficientFunds; and
        Unavailable when the outcome is not known: the offer stays PENDING until it is.
        """
        check_id_time(offer_id, self._clock.now_ns())
        found = await self._offers.get(offer_id)
        if found is None:
            found = await self._created(offer_id, meme_id, buyer_id, terms)
        if (found.meme_id, found.buyer_id, found.terms) != (meme_id, buyer_id, terms):
            raise IdReused
        return await self.secure(found)

    async def secure(self, offer: Offer) -> Offer:
        """The offer, no longer PENDING: its money is held. Raises InsufficientFunds and the like if not."""
        if offer.state is OfferState.REFUSED:
            raise InsufficientFunds(needed=offer.price_sats)
        if offer.state is not OfferState.PENDING:
            return offer.as_of(self._clock.now_ns())
        refused = await self._ledger.carry_out(holds(offer))
        if refused is not None:
            await self._pass(offer.id, OfferState.PENDING, lambda found: found.refused(self._clock.now_ns()))
            raise failure(refused, offer.price_sats)
        # Asked once the offer can be found by `supersede`: so none to a former owner stays open.
        if await self._ledger.owner(offer.meme_id) == offer.seller_id:
            return await self._pass(
                offer.id, OfferState.PENDING, lambda found: found.opened(self._clock.now_ns())
            )
        return await self._pass(
            offer.id,
            OfferState.PENDING,
            lambda found: found.closed(OfferState.SUPERSEDED, self._clock.now_ns()),
        )

    async def cancel(self, offer_id: OfferId, *, user_id: UserId, is_admin: bool) -> Offer:
        """Takes an offer back. Raises OfferNotFound, NotBuyer, OfferClosed."""
        offer = await self._offers.get(offer_id)
        if offer is None:
            raise OfferNotFound
        if offer.buyer_id != user_id and not is_admin:
            raise NotBuyer
        if offer.state is OfferState.PENDING:
            await self.secure(offer)

        def decide(found: Offer) -> Offer:
            standing = found.as_of(self._clock.now_ns())
            if standing.state is OfferState.CANCELLED:
                return found
            if standing.state is not OfferState.OPEN:
                raise OfferClosed(state=standing.state.upper())
            return found.closed(OfferState.CANCELLED, self._clock.now_ns())

        return await self._changed(offer_id, decide)

    async def expire(self, offer_id: OfferId) -> Offer:
        """Writes down that its time is over, if it is. Raises OfferNotFound."""
        return await self._changed(offer_id, lambda found: found.as_of(self._clock.now_ns()))

    async def supersede(self, meme_id: MemeId, *, sold_by: OfferId | None) -> None:
        """Closes all offers that were made to somebody who does not own the title any more.

        All but the one that sold it. Raises Unsettled while one of them is neither open nor closed.
        """
        owner_id = await self._ledger.owner(meme_id)
        undecided = False
        for offer in await self._offers.live_for(meme_id):
            if offer.seller_id != owner_id and offer.id != sold_by:
                after = await self._pass(
                    offer.id, OfferState.OPEN, lambda found: found.superseded(self._clock.now_ns())
                )
                undecided |= not after.is_closed
        if undecided:
            raise Unsettled("an offer to a former owner is not decided yet")

    async def close(self, offer: Offer, decide: Callable[[Offer], Offer]) -> Offer:
        """Closes an offer otherwise, frees its money and tells it."""
        return await self._changed(offer.id, decide)

    async def free(self, offer: Offer) -> None:
        """Frees the money of a closed offer. Raises Failure: it is done later."""
        refused = await self._ledger.carry_out(releases(offer))
        if refused is not None and refused.refusal is not Refusal.HOLD_GONE:
            raise failure(refused, offer.price_sats)
        await self._offers.change(offer.id, lambda found: found.freed())

    async def _created(self, offer_id: OfferId, meme_id: MemeId, buyer_id: UserId, terms: Terms) -> Offer:
        now_ns = self._clock.now_ns()
        check_new(offer_id, terms, now_ns)
        owner_id = await self._ledger.owner(meme_id)
        if owner_id == buyer_id:
            raise SelfPurchase
        available_sats = await self._ledger.available_sats(buyer_id)
        if available_sats < terms.price_sats:
            raise InsufficientFunds(available=available_sats, needed=terms.price_sats)
        offer, _ = await self._offers.create(Offer(offer_id, meme_id, owner_id, buyer_id, terms, now_ns))
        return offer

    async def _pass(self, offer_id: OfferId, state: OfferState, move: Callable[[Offer], Offer]) -> Offer:
        """The offer moved on from this state, or as somebody else has moved it."""
        return await self._changed(offer_id, lambda found: move(found) if found.state is state else found)

    async def _changed(self, offer_id: OfferId, decide: Callable[[Offer], Offer]) -> Offer:
        change = await self._offers.change(offer_id, decide)
        if change is None:
            raise OfferNotFound
        if change.made:
            self._news.offer(change.after)
        if change.after.is_closed and change.after.held:
            await self._freed_soon(change.after)
        return change.after

    async def _freed_soon(self, offer: Offer) -> None:
        try:
            await self.free(offer)
        except Failure as problem:
            log.warning("offer not freed yet", offer_id=offer.id, reason=problem.reason, why=problem.message)
