"""Listings: a title at a fixed price, from its making to its sale or end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.market.domain import states
from services.market.domain.states import ListingState
from services.market.domain.values import (
    LISTING_LASTS_MAX_S,
    Attempt,
    ListingId,
    MemeId,
    SaleId,
    Sats,
    Terms,
    UserId,
    check_id_time,
)


@dataclass(frozen=True, slots=True)
class Listing:
    """A title listed. `made` are the terms it was made with, `terms` those of its newest version.

    `attempt` is set while SETTLING, `sale_id` once SOLD, `closed_ns` once closed.
    """

    id: ListingId
    meme_id: MemeId
    seller_id: UserId
    made: Terms
    terms: Terms
    created_ns: int
    version: int = 1
    state: ListingState = ListingState.OPEN
    attempt: Attempt | None = None
    sale_id: SaleId | None = None
    closed_ns: int = 0

    @property
    def price_sats(self) -> Sats:
        """What a buyer pays."""
        return self.terms.price_sats

    @property
    def key(self) -> str:
        """What names it as the holder of its meme's place: once closed it never holds it again."""
        return self.id

    @property
    def is_closed(self) -> bool:
        """Whether nothing can happen to it any more."""
        return not states.LISTING[self.state]

    def as_of(self, now_ns: int) -> Listing:
        """As it stands at this time: what is over is EXPIRED from that moment on, written down or not."""
        if self.state is ListingState.OPEN and self.terms.over(now_ns):
            return self._moved(ListingState.EXPIRED, closed_ns=self.terms.expires_ns)
        return self

    def same_words(self, other: Listing) -> bool:
        """Whether the other was asked for with the same words."""
        return (self.id, self.meme_id, self.seller_id, self.made) == (
            other.id,
            other.meme_id,
            other.seller_id,
            other.made,
        )

    def changed(self, terms: Terms) -> Listing:
        """Its next version."""
        return replace(self, terms=terms, version=self.version + 1)

    def claimed(self, attempt: Attempt) -> Listing:
        """Taken by a purchase."""
        return self._moved(ListingState.SETTLING, attempt=attempt)

    def reopened(self, now_ns: int) -> Listing:
        """Open again after a purchase that moved nothing, unless it has expired meanwhile."""
        return self._moved(ListingState.OPEN).as_of(now_ns)

    def sold(self, sale_id: SaleId, now_ns: int) -> Listing:
        """Closed by a sale."""
        return self._moved(ListingState.SOLD, sale_id=sale_id, closed_ns=now_ns)

    def cancelled(self, now_ns: int) -> Listing:
        """Closed without a sale."""
        return self._moved(ListingState.CANCELLED, closed_ns=now_ns)

    def _moved(
        self,
        state: ListingState,
        *,
        attempt: Attempt | None = None,
        sale_id: SaleId | None = None,
        closed_ns: int = 0,
    ) -> Listing:
        """In another state. Raises ImpossibleMove."""
        states.check(states.LISTING, self.state, state)
        return replace(self, state=state, attempt=attempt, sale_id=sale_id, closed_ns=closed_ns)


def new_listing(
    *, listing_id: ListingId, meme_id: MemeId, seller_id: UserId, terms: Terms, now_ns: int
) -> Listing:
    """An open listing. Raises InvalidArgument for an id of tomorrow."""
    check_id_time(listing_id, now_ns)
    return Listing(listing_id, meme_id, seller_id, terms, terms, now_ns)


def check_terms(terms: Terms, now_ns: int) -> None:
    """Raises PriceTooLow, ExpiryInvalid, InvalidArgument unless a listing may have them now."""
    terms.check(now_ns, lasts_max_s=LISTING_LASTS_MAX_S)
