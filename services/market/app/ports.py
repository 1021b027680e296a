"""What the use cases need from outside. Every method raises mesh.errors.Unavailable when its part is away.

After Unavailable a write, and anything asked of the ledger or the chain, may have been done all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.market.domain.listings import Listing, ListingId, ListingState, MemeId, SaleId, UserId
from services.market.domain.sales import Leg, Quote, Sale, Transfer


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """Which listings; None: any."""

    state: ListingState | None = None
    meme_id: MemeId | None = None
    seller_id: UserId | None = None


@dataclass(frozen=True, slots=True)
class SaleFilter:
    """Which sales; None: any. `user_id` bought or sold."""

    meme_id: MemeId | None = None
    user_id: UserId | None = None


class Listings(Protocol):
    """The listings' records; what returned is durable."""

    async def create(self, listing: Listing) -> tuple[Listing, bool]:
        """Makes the listing unless there is one with this id: who stands, and whether it was made now."""
        ...

    async def get(self, listing_id: ListingId) -> Listing | None:
        """A listing."""
        ...

    async def get_many(self, listing_ids: Sequence[ListingId]) -> list[Listing]:
        """Those that exist, in the order asked. At most 1,000."""
        ...

    async def change(self, listing_id: ListingId, decide: Callable[[Listing], Listing]) -> Listing | None:
        """Replaces the listing by what `decide` makes of it, if that differs; its failures change nothing."""
        ...

    async def page(self, which: ListingFilter, *, after: str, limit: int) -> tuple[list[Listing], str]:
        """At most `limit`, newest first, from behind `after`; and where to go on, "" at the end."""
        ...

    async def settling(self) -> list[Listing]:
        """Listings with a purchase under way, at most 1,000."""
        ...


class Sales(Protocol):
    """The sales' records; what returned is durable."""

    async def create(self, sale: Sale) -> Sale:
        """Makes the sale unless there is one with this id: returns the one that stands."""
        ...

    async def get(self, sale_id: SaleId) -> Sale | None:
        """A sale."""
        ...

    async def change(self, sale_id: SaleId, decide: Callable[[Sale], Sale]) -> Sale | None:
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
        """The quote; an empty one when there was never a listing."""
        ...

    async def get_many(self, meme_ids: Sequence[MemeId]) -> list[Quote]:
        """One per meme, in the order asked. At most 1,000."""
        ...

    async def change(self, meme_id: MemeId, decide: Callable[[Quote], Quote]) -> Quote:
        """Replaces the quote by what `decide` makes of it, if that differs."""
        ...


class Refusal(StrEnum):
    """Why a settlement moved nothing."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    NOT_OWNER = "not_owner"
    ID_REUSED = "id_reused"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Refused:
    """A settlement that moved nothing: which part failed, and why in the ledger's words."""

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

    async def settle(self, transfers: Sequence[Transfer]) -> Refused | None:
        """Makes all transfers or none; None: they are made.

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
        """A listing was made, sold or cancelled."""
        ...

    def sale(self, sale: Sale) -> None:
        """A title was sold."""
        ...
