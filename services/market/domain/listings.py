"""Listings: a title offered at a fixed price, from its making to its sale or end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NewType

from mesh.clock import NS_PER_S
from mesh.errors import InvalidArgument
from mesh.ids import made_ns
from services.market.domain.failures import ImpossibleMove, PriceTooLow

ListingId = NewType("ListingId", str)
SaleId = NewType("SaleId", str)
MemeId = NewType("MemeId", str)
UserId = NewType("UserId", str)
Sats = NewType("Sats", int)

# DOMAIN.md, "Money", Market.
PRICE_MIN_SATS = Sats(1_000)
# Bitcoin's supply: no price above it can ever be paid.
PRICE_MAX_SATS = Sats(21_000_000 * 100_000_000)
# Lists are in the order of ids, whose first 48 bits are a time in ms: an id may not claim to be made
# tomorrow.
ID_AHEAD_MAX_S = 24 * 3600
ID_AGE_MAX_S = 24 * 3600


class ListingState(StrEnum):
    """Where a listing stands."""

    OPEN = "open"
    SETTLING = "settling"
    SOLD = "sold"
    CANCELLED = "cancelled"


MOVES: Mapping[ListingState, frozenset[ListingState]] = {
    ListingState.OPEN: frozenset({ListingState.SETTLING, ListingState.CANCELLED}),
    ListingState.SETTLING: frozenset({ListingState.OPEN, ListingState.SOLD, ListingState.CANCELLED}),
    ListingState.SOLD: frozenset(),
    ListingState.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A purchase under way: it alone may settle the listing."""

    sale_id: SaleId
    buyer_id: UserId
    claimed_ns: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A title offered. `attempt` is set while SETTLING, `sale_id` once SOLD, `closed_ns` once closed."""

    id: ListingId
    meme_id: MemeId
    seller_id: UserId
    price_sats: Sats
    created_ns: int
    state: ListingState = ListingState.OPEN
    attempt: Attempt | None = None
    sale_id: SaleId | None = None
    closed_ns: int = 0

    @property
    def is_closed(self) -> bool:
        """Whether nothing can happen to it any more."""
        return not MOVES[self.state]

    def same_offer(self, other: Listing) -> bool:
        """Whether the other was asked for with the same words."""
        return (self.id, self.meme_id, self.seller_id, self.price_sats) == (
            other.id,
            other.meme_id,
            other.seller_id,
            other.price_sats,
        )

    def claimed(self, attempt: Attempt) -> Listing:
        """Taken by a purchase. Raises ImpossibleMove unless OPEN."""
        return self._moved(ListingState.SETTLING, attempt=attempt)

    def reopened(self) -> Listing:
        """Open again after a purchase that moved nothing."""
        return self._moved(ListingState.OPEN, attempt=None)

    def sold(self, sale_id: SaleId, now_ns: int) -> Listing:
        """Closed by a sale."""
        return self._moved(ListingState.SOLD, attempt=None, sale_id=sale_id, closed_ns=now_ns)

    def cancelled(self, now_ns: int) -> Listing:
        """Closed without a sale."""
        return self._moved(ListingState.CANCELLED, attempt=None, closed_ns=now_ns)

    def _moved(
        self,
        state: ListingState,
        *,
        attempt: Attempt | None,
        sale_id: SaleId | None = None,
        closed_ns: int = 0,
    ) -> Listing:
        if state not in MOVES[self.state]:
            raise ImpossibleMove(f"a listing that is {self.state} cannot become {state}")
        return replace(self, state=state, attempt=attempt, sale_id=sale_id, closed_ns=closed_ns)


def new_listing(
    *, listing_id: ListingId, meme_id: MemeId, seller_id: UserId, price_sats: int, now_ns: int
) -> Listing:
    """An open listing. Raises PriceTooLow, InvalidArgument."""
    if price_sats < PRICE_MIN_SATS:
        raise PriceTooLow(minimum=PRICE_MIN_SATS)
    if price_sats > PRICE_MAX_SATS:
        raise InvalidArgument("the price is above all coins there are", maximum=PRICE_MAX_SATS)
    check_id_time(listing_id, now_ns)
    return Listing(listing_id, meme_id, seller_id, Sats(price_sats), now_ns)


def check_id_time(made_id: str, now_ns: int) -> None:
    """Raises InvalidArgument when a UUIDv7 says that it was made in the future."""
    if made_ns(made_id) > now_ns + ID_AHEAD_MAX_S * NS_PER_S:
        raise InvalidArgument("the id is not a UUIDv7 made by now")


def check_id_fresh(made_id: str, now_ns: int) -> None:
    """Raises InvalidArgument when a UUIDv7 says that it was not made within the last day.

    The ledger takes no old ids, and an attempt in which nothing moved must stay so for ever.
    """
    if made_ns(made_id) < now_ns - ID_AGE_MAX_S * NS_PER_S:
        raise InvalidArgument("the id is not a UUIDv7 made within the last day; take a new one")
