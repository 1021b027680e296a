"""Offers: money for a title, held in the ledger from the making to the sale or end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.market.domain import states
from services.market.domain.states import OfferState
from services.market.domain.values import (
    OFFER_LASTS_MAX_S,
    Attempt,
    MemeId,
    OfferId,
    SaleId,
    Sats,
    Terms,
    UserId,
    check_id_fresh,
)


@dataclass(frozen=True, slots=True)
class Offer:
    """Money offered to the owner of a title. `seller_id` owned it when the offer was made.

    `attempt` is set while SETTLING, `sale_id` once ACCEPTED, `closed_ns` once closed. `held` says that the
    ledger may hold money for it that is not on its way to the seller: a closed offer is done with when it is
    false.
    """

    id: OfferId
    meme_id: MemeId
    seller_id: UserId
    buyer_id: UserId
    terms: Terms
    created_ns: int
    state: OfferState = OfferState.PENDING
    attempt: Attempt | None = None
    sale_id: SaleId | None = None
    closed_ns: int = 0
    held: bool = True

    @property
    def price_sats(self) -> Sats:
        """What the buyer would pay."""
        return self.terms.price_sats

    @property
    def is_closed(self) -> bool:
        """Whether nothing can happen to it any more, but that its money is freed."""
        return not states.OFFER[self.state]

    def as_of(self, now_ns: int) -> Offer:
        """As it stands at this time: what is over is EXPIRED from that moment on, written down or not."""
        if self.state is OfferState.OPEN and self.terms.over(now_ns):
            return self._moved(OfferState.EXPIRED, closed_ns=self.terms.expires_ns)
        return self

    def same_words(self, other: Offer) -> bool:
        """Whether the other was asked for with the same words."""
        return (self.id, self.meme_id, self.buyer_id, self.terms) == (
            other.id,
            other.meme_id,
            other.buyer_id,
            other.terms,
        )

    def opened(self, now_ns: int) -> Offer:
        """Open: its money is held, and nobody's acceptance has taken it. Unless it has expired meanwhile."""
        return self._moved(OfferState.OPEN).as_of(now_ns)

    def refused(self, now_ns: int) -> Offer:
        """Closed, because the ledger held nothing."""
        return replace(self._moved(OfferState.REFUSED, closed_ns=now_ns), held=False)

    def claimed(self, attempt: Attempt) -> Offer:
        """Accepted, and to be settled."""
        return self._moved(OfferState.SETTLING, attempt=attempt)

    def accepted(self, sale_id: SaleId, now_ns: int) -> Offer:
        """Closed by a sale, which took the money."""
        return replace(self._moved(OfferState.ACCEPTED, sale_id=sale_id, closed_ns=now_ns), held=False)

    def closed(self, state: OfferState, now_ns: int) -> Offer:
        """CANCELLED, EXPIRED or SUPERSEDED; its money is to be freed."""
        return self._moved(state, closed_ns=now_ns)

    def superseded(self, now_ns: int) -> Offer:
        """Closed, because the title went to somebody else; if it has not expired before."""
        standing = self.as_of(now_ns)
        return standing if standing.is_closed else standing.closed(OfferState.SUPERSEDED, now_ns)

    def freed(self) -> Offer:
        """With nothing held for it any more."""
        return replace(self, held=False)

    def _moved(
        self,
        state: OfferState,
        *,
        attempt: Attempt | None = None,
        sale_id: SaleId | None = None,
        closed_ns: int = 0,
    ) -> Offer:
        """In another state. Raises ImpossibleMove."""
        states.check(states.OFFER, self.state, state)
        return replace(self, state=state, attempt=attempt, sale_id=sale_id, closed_ns=closed_ns)


def check_new(offer_id: OfferId, terms: Terms, now_ns: int) -> None:
    """Raises PriceTooLow, ExpiryInvalid, InvalidArgument unless such an offer may be made now."""
    check_id_fresh(offer_id, now_ns)
    terms.check(now_ns, lasts_max_s=OFFER_LASTS_MAX_S)
