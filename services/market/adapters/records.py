"""Listings, sales and quotes in the record store.

Sets: `listings` and `sales` by their ids (UUIDv7: in the order of making), `quotes` by meme id. Keys of lists
run downwards, newest first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from mesh.records import PAGE_MAX, Bins, Exists, Record, SetSpec, Store, change, query_all
from services.market.adapters import codec
from services.market.app.ports import ListingFilter, SaleFilter
from services.market.domain.listings import Listing, ListingId, ListingState, MemeId, SaleId
from services.market.domain.sales import Quote, Sale

LISTINGS = SetSpec("listings", {"state": str, "meme_id": str, "seller_id": str})
SALES = SetSpec("sales", {"meme_id": str, "buyer_id": str, "seller_id": str, "due": int, "due_meme": str})
QUOTES = SetSpec("quotes")
SETS = (LISTINGS, SALES, QUOTES)
# Pages of the store that one page of a list may read to fill itself, when most records do not match.
ROUNDS_MAX = 10

Item = TypeVar("Item", Listing, Sale)
_Fetch = Callable[[str, int], Awaitable[list[Record]]]


class StoredListings:
    """`Listings`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, listing: Listing) -> tuple[Listing, bool]:
        """Makes the listing unless there is one with this id."""
        found = await self.get(listing.id)
        if found is not None:
            return found, False
        try:
            await self._store.create(LISTINGS.name, listing.id, codec.listing_bins(listing))
        except Exists:
            return await self.create(listing)
        return listing, True

    async def get(self, listing_id: ListingId) -> Listing | None:
        """A listing."""
        record = await self._store.get(LISTINGS.name, listing_id)
        return None if record is None else codec.listing(record)

    async def get_many(self, listing_ids: Sequence[ListingId]) -> list[Listing]:
        """Those that exist, in the order asked."""
        records = await self._store.get_many(LISTINGS.name, listing_ids)
        return [codec.listing(records[key]) for key in listing_ids if key in records]

    async def change(self, listing_id: ListingId, decide: Callable[[Listing], Listing]) -> Listing | None:
        """Replaces the listing by what `decide` makes of it, if that differs."""

        def bins(record: Record) -> Bins | None:
            before = codec.listing(record)
            after = decide(before)
            return None if after == before else codec.listing_bins(after)

        record = await change(self._store, LISTINGS.name, listing_id, bins)
        return None if record is None else codec.listing(record)

    async def page(self, which: ListingFilter, *, after: str, limit: int) -> tuple[list[Listing], str]:
        """A page, newest first."""
        indexed = {"seller_id": which.seller_id, "meme_id": which.meme_id, "state": which.state}
        fetch = _newest(self._store, LISTINGS.name, indexed)

        def wanted(listing: Listing) -> bool:
            return (
                which.state in (None, listing.state)
                and which.meme_id in (None, listing.meme_id)
                and which.seller_id in (None, listing.seller_id)
            )

        return await _filled(fetch, codec.listing, wanted, after, limit)

    async def settling(self) -> list[Listing]:
        """Listings with a purchase under way."""
        records = await self._store.query_eq(LISTINGS.name, "state", ListingState.SETTLING.value)
        return [codec.listing(record) for record in records]


class StoredSales:
    """`Sales`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, sale: Sale) -> Sale:
        """Makes the sale unless there is one with this id."""
        found = await self.get(sale.id)
        if found is not None:
            return found
        try:
            await self._store.create(SALES.name, sale.id, codec.sale_bins(sale))
        except Exists:
            return await self.create(sale)
        return sale

    async def get(self, sale_id: SaleId) -> Sale | None:
        """A sale."""
        record = await self._store.get(SALES.name, sale_id)
        return None if record is None else codec.sale(record)

    async def change(self, sale_id: SaleId, decide: Callable[[Sale], Sale]) -> Sale | None:
        """Replaces the sale by what `decide` makes of it, if that differs."""

        def bins(record: Record) -> Bins | None:
            before = codec.sale(record)
            after = decide(before)
            return None if after == before else codec.sale_bins(after)

        record = await change(self._store, SALES.name, sale_id, bins)
        return None if record is None else codec.sale(record)

    async def page(self, which: SaleFilter, *, after: str, limit: int) -> tuple[list[Sale], str]:
        """A page, newest first."""
        bought = _newest(self._store, SALES.name, {"buyer_id": which.user_id, "meme_id": which.meme_id})
        sold = _newest(self._store, SALES.name, {"seller_id": which.user_id})

        async def bought_or_sold(after: str, limit: int) -> list[Record]:
            both = [*await bought(after, limit), *await sold(after, limit)]
            return sorted(both, key=lambda record: record.key, reverse=True)[:limit]

        def wanted(sale: Sale) -> bool:
            return which.meme_id in (None, sale.meme_id)

        fetch = bought if which.user_id is None else bought_or_sold
        return await _filled(fetch, codec.sale, wanted, after, limit)

    async def due_memes(self) -> list[MemeId]:
        """Memes with sales whose consequences are not all done."""
        due = {
            MemeId(record.text("meme_id")): None
            async for record in query_all(self._store, SALES.name, "due", 1)
        }
        return list(due)

    async def due(self, meme_id: MemeId) -> list[Sale]:
        """Sales of the meme whose consequences are not all done, by number."""
        due = [codec.sale(record) async for record in query_all(self._store, SALES.name, "due_meme", meme_id)]
        return sorted(due, key=lambda sale: sale.number)


class StoredQuotes:
    """`Quotes`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, meme_id: MemeId) -> Quote:
        """The quote."""
        record = await self._store.get(QUOTES.name, meme_id)
        return Quote(meme_id) if record is None else codec.quote(record)

    async def get_many(self, meme_ids: Sequence[MemeId]) -> list[Quote]:
        """One per meme, in the order asked."""
        records = await self._store.get_many(QUOTES.name, meme_ids)
        return [codec.quote(records[key]) if key in records else Quote(key) for key in meme_ids]

    async def change(self, meme_id: MemeId, decide: Callable[[Quote], Quote]) -> Quote:
        """Replaces the quote by what `decide` makes of it, if that differs."""

        def bins(record: Record) -> Bins | None:
            before = codec.quote(record)
            after = decide(before)
            return None if after == before else codec.quote_bins(after)

        record = await change(self._store, QUOTES.name, meme_id, bins)
        if record is not None:
            return codec.quote(record)
        first = decide(Quote(meme_id))
        if first == Quote(meme_id):
            return first
        try:
            await self._store.create(QUOTES.name, meme_id, codec.quote_bins(first))
        except Exists:
            return await self.change(meme_id, decide)
        return first


def _newest(store: Store, set_name: str, indexed: Mapping[str, str | None]) -> _Fetch:
    """Reads downwards by the first index that has a value, or through all."""
    bin_name, value = next(((name, value) for name, value in indexed.items() if value), ("", None))

    async def fetch(after: str, limit: int) -> list[Record]:
        if value is None:
            return await store.scan(set_name, after=after, limit=limit, descending=True)
        return await store.query_eq(set_name, bin_name, str(value), after=after, limit=limit, descending=True)

    return fetch


async def _filled(
    fetch: _Fetch, read: Callable[[Record], Item], wanted: Callable[[Item], bool], after: str, limit: int
) -> tuple[list[Item], str]:
    """Up to `limit` wanted items from behind `after`, and the key behind which to go on, "" at the end."""
    found: list[tuple[str, Item]] = []
    for _ in range(ROUNDS_MAX):
        records = await fetch(after, PAGE_MAX if found else min(limit + 1, PAGE_MAX))
        items = ((record.key, read(record)) for record in records)
        found += [(key, item) for key, item in items if wanted(item)]
        if len(found) > limit:
            return [item for _, item in found[:limit]], found[limit - 1][0]
        if not records:
            return [item for _, item in found], ""
        after = records[-1].key
    return [item for _, item in found], after
