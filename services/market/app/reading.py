"""Reading: listings, sales and quotes."""

from __future__ import annotations

from collections.abc import Sequence

from services.market.app.ports import ListingFilter, Listings, Quotes, SaleFilter, Sales
from services.market.domain.failures import ListingNotFound, SaleNotFound
from services.market.domain.listings import Listing, ListingId, ListingState, MemeId, SaleId
from services.market.domain.pages import PAGE_SIZE_DEFAULT, page_token, read_page_token
from services.market.domain.sales import Quote, Sale


class Reading:
    """Answers what others want to know."""

    def __init__(self, *, listings: Listings, sales: Sales, quotes: Quotes) -> None:
        self._listings = listings
        self._sales = sales
        self._quotes = quotes

    async def listing(self, listing_id: ListingId) -> Listing:
        """A listing. Raises ListingNotFound."""
        listing = await self._listings.get(listing_id)
        if listing is None:
            raise ListingNotFound
        return listing

    async def listings(self, listing_ids: Sequence[ListingId]) -> list[Listing]:
        """Those that exist, in the order asked."""
        return await self._listings.get_many(listing_ids)

    async def list_listings(
        self, which: ListingFilter, *, page_size: int, token: str
    ) -> tuple[list[Listing], str]:
        """A page, newest first, and the token of the next, "" at the end. Raises PageTokenInvalid."""
        scope = f"listings {which}"
        after = read_page_token(scope, token)
        found, following = await self._listings.page(which, after=after, limit=page_size or PAGE_SIZE_DEFAULT)
        return found, page_token(scope, following) if following else ""

    async def sale(self, sale_id: SaleId) -> Sale:
        """A sale. Raises SaleNotFound."""
        sale = await self._sales.get(sale_id)
        if sale is None:
            raise SaleNotFound
        return sale

    async def list_sales(self, which: SaleFilter, *, page_size: int, token: str) -> tuple[list[Sale], str]:
        """A page, newest first, and the token of the next, "" at the end. Raises PageTokenInvalid."""
        scope = f"sales {which}"
        after = read_page_token(scope, token)
        found, following = await self._sales.page(which, after=after, limit=page_size or PAGE_SIZE_DEFAULT)
        return found, page_token(scope, following) if following else ""

    async def quotes(self, meme_ids: Sequence[MemeId]) -> list[tuple[Quote, Listing | None]]:
        """One per meme, in the order asked, each with its open listing."""
        quotes = await self._quotes.get_many(meme_ids)
        placed = [quote.place.id for quote in quotes if quote.place is not None]
        listings = {found.id: found for found in await self._listings.get_many(placed)}
        return [(quote, _open_one(quote, listings)) for quote in quotes]


def _open_one(quote: Quote, listings: dict[ListingId, Listing]) -> Listing | None:
    listing = None if quote.place is None else listings.get(quote.place.id)
    return listing if listing is not None and listing.state is ListingState.OPEN else None
