"""What the use cases need from outside. Every method raises mesh.errors.Unavailable when its part is away.

After Unavailable a write, and anything asked of the ledger or the chain, may have been done all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from services.market.domain.candles import Candle, Place
from services.market.domain.deals import Leg, Transfer
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Quote, Sale
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import ListingId, MemeId, OfferId, SaleId, UserId

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Change(Generic[Item]):
    """What a change found, and what stands now: the same when there was nothing to change."""

    before: Item
    after: Item

    @property
    def made(self) -> bool:
        """Whether this change, and nobody else's, made it what it is."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """Which listings; None: any."""

    state: ListingState | None = None
    meme_id: MemeId | None = None
    seller_id: UserId | None = None

    def matches(self, listing: Listing) -> bool:
        """Whether it is one of them."""
        return (
            self.state in (None, listing.state)
            and self.meme_id in (None, listing.meme_id)
            and self.seller_id in (None, listing.seller_id)
        )


@dataclass(frozen=True, slots=True)
class OfferFilter:
    """Which offers; None: any."""

    state: OfferState | None = None
    meme_id: MemeId | None = None
    seller_id: UserId | None = None
    buyer_id: UserId | None = None

    def matches(self, offer: Offer) -> bool:
        """Whether it is one of them."""
        return (
            self.state in (None, offer.state)
            and self.meme_id in (None, offer.meme_id)
            and self.seller_id in (None, offer.seller_id)
            and self.buyer_id in (None, offer.buyer_id)
        )


@dataclass(frozen=True, slots=True)
class SaleFilter:
    """Which sales; None: any. `user_id` bought or sold."""

    meme_id: MemeId | None = None
    user_id: UserId | None = None

    def matches(self, sale: Sale) -> bool:
        """Whether it is one of them."""
        return self.meme_id in (None, sale.meme_id) and self.user_id in (None, sale.buyer_id, sale.seller_id)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the quotes of all memes."""

    sales: int
    volume_sats: int


class Listings(Protocol):
    """The listings' records; what returned is durable."""

    async def create(self, listing: Listing, /) -> tuple[Listing, bool]:
        """Makes the listing unless there is one with this id: who stands, and whether it was made now."""
        ...

    async def get(self, listing_id: ListingId, /) -> Listing | None:
        """A listing."""
        ...

    async def get_many(self, listing_ids: Sequence[ListingId], /) -> list[Listing]:
        """Those that exist, in the order asked. At most 1,000."""
        ...

    async def change(
        self, listing_id: ListingId, decide: Callable[[Listing], Listing], /
    ) -> Change[Listing] | None:
        """Replaces the listing by what `decide` makes of it, if that differs; its failures change nothing.

        None: there is none.
        """
        ...

    async def page(
        self, which: ListingFilter, now_ns: int, *, after: str, limit: int
    ) -> tuple[list[Listing], str]:
        """At most `limit` as of now, newest first, from behind `after`; and where to go on, "" at the end."""
        ...

    async def in_state(self, state: ListingState) -> list[Listing]:
        """All in this state, as written."""
        ...

    async def expiring(self, minute: int) -> list[Listing]:
        """Those written as OPEN whose time is over in this minute since 1970."""
        ...


class Offers(Protocol):
    """The offers' records; what returned is durable."""

    async def create(self, offer: Offer, /) -> tuple[Offer, bool]:
        """Makes the offer unless there is one with this id: who stands, and whether it was made now."""
        ...

    async def get(self, offer_id: OfferId, /) -> Offer | None:
        """An offer."""
        ...

    async def get_many(self, offer_ids: Sequence[OfferId], /) -> list[Offer]:
        """Those that exist, in the order asked. At most 1,000."""
        ...

    async def change(self, offer_id: OfferId, decide: Callable[[Offer], Offer], /) -> Change[Offer] | None:
        """Replaces the offer by what `decide` makes of it, if that differs; its failures change nothing.

        None: there is none.
        """
        ...

    async def page(
        self, which: OfferFilter, now_ns: int, *, after: str, limit: int
    ) -> tuple[list[Offer], str]:
        """At most `limit` as of now, newest first, from behind `after`; and where to go on, "" at the end."""
        ...

    async def in_state(self, state: OfferState) -> list[Offer]:
        """All in this state, as written."""
        ...

    async def live_for(self, meme_id: MemeId) -> list[Offer]:
        """Those for this meme that are not written as closed."""
        ...

    async def expiring(self, minute: int) -> list[Offer]:
        """Those written as OPEN whose time is over in this minute since 1970."""
        ...

    async def due(self) -> list[Offer]:
        """Closed ones whose money is to be freed."""
        ...


class Sales(Protocol):
    """The sales' records; what returned is durable."""

    async def create(self, sale: Sale, /) -> tuple[Sale, bool]:
        """Makes the sale unless there is one with this id: which stands, and whether it was made now."""
        ...

    async def get(self, sale_id: SaleId, /) -> Sale | None:
        """A sale."""
        ...

    async def change(self, sale_id: SaleId, decide: Callable[[Sale], Sale], /) -> Change[Sale] | None:
        """Replaces the sale by what `decide` makes of it, if that differs."""
        ...

    async def page(self, which: SaleFilter, *, after: str, limit: int) -> tuple[list[Sale], str]:
        """At most `limit`, newest first, from behind `after`; and where to go on, "" at the end."""
        ...

    async def due_memes(self) -> list[MemeId]:
        """Memes with sales whose consequences are not all done."""
        ...

    async def due(self, meme_id: MemeId) -> list[Sale]:
        """Sales of the meme whose consequences are not all done, by number."""
        ...


class Quotes(Protocol):
    """One record per meme."""

    async def get(self, meme_id: MemeId) -> Quote:
        """The quote; an empty one when the meme was never listed nor sold."""
        ...

    async def get_many(self, meme_ids: Sequence[MemeId]) -> list[Quote]:
        """One per meme, in the order asked. At most 1,000."""
        ...

    async def totals(self) -> Totals:
        """The sums over all memes."""
        ...

    async def change(self, meme_id: MemeId, decide: Callable[[Quote], Quote]) -> Quote:
        """Replaces the quote by what `decide` makes of it, if that differs."""
        ...


class Candles(Protocol):
    """What sales made of prices, hour by hour and day by day."""

    async def add(self, sale: Sale) -> None:
        """Counts the sale in its hour and its day, unless it is there. A meme's sales come in their order."""
        ...

    async def get_many(self, places: Sequence[Place]) -> list[tuple[Place, Candle]]:
        """Those that have sales, in the order asked. At most 1,000."""
        ...


class Refusal(StrEnum):
    """Why the ledger moved nothing."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    NOT_OWNER = "not_owner"
    ID_REUSED = "id_reused"
    # Posted, voided, expired, never made or long forgotten: it keeps nothing back.
    HOLD_GONE = "hold_gone"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Refused:
    """What the ledger answers when it moved nothing: which part failed, and why in its words."""

    refusal: Refusal
    leg: Leg
    detail: str


class Ledger(Protocol):
    """The only place where satoshis and titles move."""

    async def owner(self, meme_id: MemeId) -> UserId:
        """Who owns the title. Raises TitleNotFound."""
        ...

    async def available_sats(self, user_id: UserId) -> int:
        """What the user may spend now."""
        ...

    async def carry_out(self, transfers: Sequence[Transfer]) -> Refused | None:
        """Carries out all transfers or none; None: they are carried out.

        An id is answered once and for ever: who asks again gets the first answer, be it a refusal.
        """
        ...


class Chain(Protocol):
    """Titles on chain."""

    async def transfer_title(self, sale: Sale) -> None:
        """Has the title moved to the buyer; returns when that is durably accepted, else raises Failure."""
        ...


class News(Protocol):
    """Tells those who watch, soon. It never waits nor fails; news may be lost when its carrier is away."""

    def listing(self, listing: Listing) -> None:
        """A listing was made, changed or closed."""
        ...

    def offer(self, offer: Offer) -> None:
        """An offer was made or closed."""
        ...

    def sale(self, sale: Sale) -> None:
        """A title was sold."""
        ...
