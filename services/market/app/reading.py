"""Reading: listings, offers, sales, quotes and series, as they stand at the time of asking."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from mesh.clock import NS_PER_S, Clock
from mesh.pages import page_token, read_page_token
from services.market.app.ports import (
    Candles,
    ListingFilter,
    Listings,
    OfferFilter,
    Offers,
    Quotes,
    SaleFilter,
    Sales,
)
from services.market.domain.candles import Candle, Place, Step, places_between
from services.market.domain.failures import ListingNotFound, OfferNotFound, SaleNotFound
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Quote, Sale
from services.market.domain.states import ListingState
from services.market.domain.values import ListingId, MemeId, OfferId, SaleId

Shown = TypeVar("Shown")

OVERVIEW_AGE_MAX_S = 10
PAGE_SIZE_DEFAULT = 50


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole market in figures, and when they were true. `floor_sats` is 0 when nothing is for sale."""

    at_ns: int
    open_listings: int
    floor_sats: int
    sales: int
    volume_sats: int


class Reading:
    """Answers what others want to know."""

    def __init__(
        self,
        *,
        listings: Listings,
        offers: Offers,
        sales: Sales,
        quotes: Quotes,
        candles: Candles,
        clock: Clock,
    ) -> None:
        self._listings = listings
        self._offers = offers
        self._sales = sales
        self._quotes = quotes
        self._candles = candles
        self._clock = clock
        self._overview: Overview | None = None
        self._one_overview = asyncio.Lock()

    async def listing(self, listing_id: ListingId) -> Listing:
        """A listing. Raises ListingNotFound."""
        listing = await self._listings.get(listing_id)
        if listing is None:
            raise ListingNotFound
        return listing.as_of(self._clock.now_ns())

    async def listings(self, listing_ids: Sequence[ListingId]) -> list[Listing]:
        """Those that exist, in the order asked."""
        found = await self._listings.get_many(listing_ids)
        now_ns = self._clock.now_ns()
        return [listing.as_of(now_ns) for listing in found]

    async def list_listings(
        self, which: ListingFilter, *, page_size: int, token: str
    ) -> tuple[list[Listing], str]:
        """A page, newest first, and the token of the next, "" at the end. Raises PageTokenInvalid."""
        pages = partial(self._listings.page, which, self._clock.now_ns())
        return await _page(f"listings {which}", pages, page_size, token)

    async def offer(self, offer_id: OfferId) -> Offer:
        """An offer. Raises OfferNotFound."""
        offer = await self._offers.get(offer_id)
        if offer is None:
            raise OfferNotFound
        return offer.as_of(self._clock.now_ns())

    async def offers(self, offer_ids: Sequence[OfferId]) -> list[Offer]:
        """Those that exist, in the order asked."""
        found = await self._offers.get_many(offer_ids)
        now_ns = self._clock.now_ns()
        return [offer.as_of(now_ns) for offer in found]

    async def list_offers(self, which: OfferFilter, *, page_size: int, token: str) -> tuple[list[Offer], str]:
        """A page, newest first, and the token of the next, "" at the end. Raises PageTokenInvalid."""
        pages = partial(self._offers.page, which, self._clock.now_ns())
        return await _page(f"offers {which}", pages, page_size, token)

    async def sale(self, sale_id: SaleId) -> Sale:
        """A sale. Raises SaleNotFound."""
        sale = await self._sales.get(sale_id)
        if sale is None:
            raise SaleNotFound
        return sale

    async def list_sales(self, which: SaleFilter, *, page_size: int, token: str) -> tuple[list[Sale], str]:
        """A page, newest first, and the token of the next, "" at the end. Raises PageTokenInvalid."""
        return await _page(f"sales {which}", partial(self._sales.page, which), page_size, token)

    async def quotes(self, meme_ids: Sequence[MemeId]) -> list[tuple[Quote, Listing | None]]:
        """One per meme, in the order asked, each with its open listing."""
        quotes = await self._quotes.get_many(meme_ids)
        placed = [quote.place.id for quote in quotes if isinstance(quote.place, Listing)]
        listings = {found.id: found for found in await self.listings(placed)} if placed else {}
        return [(quote, _open_one(quote, listings)) for quote in quotes]

    async def series(
        self, meme_id: MemeId, step: Step, start_ns: int, end_ns: int
    ) -> list[tuple[Place, Candle]]:
        """The steps between that have sales, the oldest first. Raises SeriesRangeInvalid."""
        return await self._candles.get_many(places_between(meme_id, step, start_ns, end_ns))

    async def overview(self) -> Overview:
        """The whole market: counted anew when the last count is older than OVERVIEW_AGE_MAX_S."""
        async with self._one_overview:
            now_ns = self._clock.now_ns()
            if self._overview is None or now_ns - self._overview.at_ns > OVERVIEW_AGE_MAX_S * NS_PER_S:
                self._overview = await self._counted(now_ns)
            return self._overview

    async def _counted(self, now_ns: int) -> Overview:
        totals = await self._quotes.totals()
        found = await self._listings.in_state(ListingState.OPEN)
        prices = [listing.price_sats for listing in found if not listing.as_of(now_ns).is_closed]
        return Overview(now_ns, len(prices), min(prices, default=0), totals.sales, totals.volume_sats)


class _Pages(Protocol[Shown]):
    """Gives at most `limit` from behind `after`, and where to go on, "" at the end."""

    def __call__(self, *, after: str, limit: int) -> Awaitable[tuple[list[Shown], str]]: ...


async def _page(scope: str, pages: _Pages[Shown], size: int, token: str) -> tuple[list[Shown], str]:
    found, following = await pages(after=read_page_token(scope, token), limit=size or PAGE_SIZE_DEFAULT)
    return found, page_token(scope, following)


def _open_one(quote: Quote, listings: dict[ListingId, Listing]) -> Listing | None:
    listing = listings.get(quote.place.id) if isinstance(quote.place, Listing) else None
    return listing if listing is not None and listing.state is ListingState.OPEN else None
