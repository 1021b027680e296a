"""What listings, offers and sales have in common: ids, prices, terms, and how a purchase claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from mesh.clock import NS_PER_S
from mesh.errors import InvalidArgument
from mesh.ids import is_uuid7, made_ns
from services.market.domain.failures import ExpiryInvalid, PriceTooLow

ListingId = NewType("ListingId", str)
OfferId = NewType("OfferId", str)
SaleId = NewType("SaleId", str)
MemeId = NewType("MemeId", str)
UserId = NewType("UserId", str)
Sats = NewType("Sats", int)

# DOMAIN.md, "Money", Market.
PRICE_MIN_SATS = Sats(1_000)
# Bitcoin's supply: no price above it can ever be paid.
PRICE_MAX_SATS = Sats(21_000_000 * 100_000_000)
LISTING_LASTS_MAX_S = 365 * 24 * 3600
# Money is held meanwhile.
OFFER_LASTS_MAX_S = 30 * 24 * 3600
# Lists are in the order of ids, whose first 48 bits are a time in ms: nobody stays on top of them with an id
# of tomorrow. Clocks of callers may be ahead by so much.
ID_AHEAD_MAX_S = 5 * 60
ID_AGE_MAX_S = 24 * 3600
NEVER = 0
_NS_PER_MINUTE = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Terms:
    """A price, and until when it stands: from `expires_ns` on it does not, unless that is NEVER."""

    price_sats: Sats
    expires_ns: int = NEVER

    def over(self, now_ns: int) -> bool:
        """Whether they do not stand any more."""
        return self.expires_ns != NEVER and self.expires_ns <= now_ns

    def check(self, now_ns: int, *, lasts_max_s: int) -> None:
        """Raises PriceTooLow, ExpiryInvalid, InvalidArgument unless somebody may ask for them now."""
        if self.price_sats < PRICE_MIN_SATS:
            raise PriceTooLow(minimum=PRICE_MIN_SATS)
        if self.price_sats > PRICE_MAX_SATS:
            raise InvalidArgument("the price is above all coins there are", maximum=PRICE_MAX_SATS)
        if self.expires_ns != NEVER and not now_ns < self.expires_ns <= now_ns + lasts_max_s * NS_PER_S:
            raise ExpiryInvalid(longest_s=lasts_max_s)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sale under way: it alone may settle what it has claimed."""

    sale_id: SaleId
    buyer_id: UserId
    claimed_ns: int


def minute_of(ns: int) -> int:
    """The minute since 1970 that an instant lies in: what expires is looked for by it."""
    return ns // _NS_PER_MINUTE


def check_id_time(made_id: str, now_ns: int) -> None:
    """Raises InvalidArgument unless it is a UUIDv7 that was not made in the future.

    Ids of other versions are the market's own: nobody may call a sale what a hold is called.
    """
    if not is_uuid7(made_id) or made_ns(made_id) > now_ns + ID_AHEAD_MAX_S * NS_PER_S:
        raise InvalidArgument("the id is not a UUIDv7 made by now")


def check_id_fresh(made_id: str, now_ns: int) -> None:
    """Raises InvalidArgument when a UUIDv7 says that it was not made within the last day.

    The ledger takes no old ids, and an attempt in which nothing moved must stay so for ever.
    """
    if made_ns(made_id) < now_ns - ID_AGE_MAX_S * NS_PER_S:
        raise InvalidArgument("the id is not a UUIDv7 made within the last day; take a new one")
