"""Listings, offers, sales, quotes and candles in the record store.

Sets: `listings`, `offers` and `sales` by their ids (UUIDv7: in the order of making), `quotes` by meme id,
`candles` by meme id, step and number of the step. Keys of lists run downwards, newest first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from mesh.records import Bins, Exists, Record, SetSpec, Store, change, query_all, scan_all
from services.market.adapters import codec
from services.market.adapters.lists import filled, newest
from services.market.app.ports import Change, ListingFilter, OfferFilter, SaleFilter, Totals
from services.market.domain.candles import Candle, Place, adding, places_of
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Quote, Sale
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import ListingId, MemeId, OfferId, SaleId

LISTINGS = SetSpec("listings", {"state": str, "meme_id": str, "seller_id": str, "open_until": int})
OFFERS = SetSpec(
    "offers",
    {
        "state": str,
        "meme_id": str,
        "seller_id": str,
        "buyer_id": str,
        "due": int,
        "live_meme": str,
        "open_until": int,
    },
)
SALES = SetSpec("sales", {"meme_id": str, "buyer_id": str, "seller_id": str, "due": int, "due_meme": str})
QUOTES = SetSpec("quotes")
CANDLES = SetSpec("candles")
SETS = (LISTINGS, OFFERS, SALES, QUOTES, CANDLES)

Id = TypeVar("Id", bound=str)
Item = TypeVar("Item", Listing, Offer, Sale)


class _Stored(Generic[Id, Item]):
    """Items of one set: made once, changed one at a time."""

    def __init__(
        self, store: Store, spec: SetSpec, bins: Callable[[Item], Bins], read: Callable[[Record], Item]
    ) -> None:
        self._store = store
        self._set = spec.name
        self._bins: Callable[[Item], Bins] = bins
        self._read: Callable[[Record], Item] = read

    async def create(self, item: Item) -> tuple[Item, bool]:
        """Makes the item unless there is one with this id: who stands, and whether it was made now."""
        record = await self._store.get(self._set, item.id)
        if record is not None:
            return self._read(record), False
        try:
            await self._store.create(self._set, item.id, self._bins(item))
        except Exists:
            return await self.create(item)
        return item, True

    async def get(self, item_id: Id) -> Item | None:
        """An item."""
        record = await self._store.get(self._set, item_id)
        return None if record is None else self._read(record)

    async def get_many(self, item_ids: Sequence[Id]) -> list[Item]:
        """Those that exist, in the order asked."""
        records = await self._store.get_many(self._set, item_ids)
        return [self._read(records[key]) for key in item_ids if key in records]

    async def change(self, item_id: Id, decide: Callable[[Item], Item]) -> Change[Item] | None:
        """Replaces the item by what `decide` makes of it, if that differs."""
        seen: Change[Item] | None = None

        def bins(record: Record) -> Bins | None:
            nonlocal seen
            before = self._read(record)
            seen = Change(before, decide(before))
            return self._bins(seen.after) if seen.made else None

        record = await change(self._store, self._set, item_id, bins)
        return None if record is None else seen

    async def _all(self, bin_name: str, value: str | int) -> list[Item]:
        return [self._read(found) async for found in query_all(self._store, self._set, bin_name, value)]


class StoredListings(_Stored[ListingId, Listing]):
    """`Listings`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, LISTINGS, codec.listing_bins, codec.listing)

    async def page(
        self, which: ListingFilter, now_ns: int, *, after: str, limit: int
    ) -> tuple[list[Listing], str]:
        """A page, newest first."""
        indexed = {"seller_id": which.seller_id, "meme_id": which.meme_id, "state": which.state}
        fetch = newest(self._store, LISTINGS.name, indexed)
        return await filled(
            fetch, lambda record: codec.listing(record).as_of(now_ns), which.matches, after, limit
        )

    async def in_state(self, state: ListingState) -> list[Listing]:
        """All in this state."""
        return await self._all("state", state.value)

    async def expiring(self, minute: int) -> list[Listing]:
        """Open ones whose time is over in this minute since 1970."""
        return await self._all("open_until", minute)


class StoredOffers(_Stored[OfferId, Offer]):
    """`Offers`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, OFFERS, codec.offer_bins, codec.offer)

    async def page(
        self, which: OfferFilter, now_ns: int, *, after: str, limit: int
    ) -> tuple[list[Offer], str]:
        """A page, newest first."""
        indexed = {
            "buyer_id": which.buyer_id,
            "live_meme": which.meme_id if which.state is OfferState.OPEN else None,
            "meme_id": which.meme_id,
            "seller_id": which.seller_id,
            "state": which.state,
        }
        fetch = newest(self._store, OFFERS.name, indexed)
        return await filled(
            fetch, lambda record: codec.offer(record).as_of(now_ns), which.matches, after, limit
        )

    async def in_state(self, state: OfferState) -> list[Offer]:
        """All in this state."""
        return await self._all("state", state.value)

    async def live_for(self, meme_id: MemeId) -> list[Offer]:
        """Those for this meme that are not closed."""
        return await self._all("live_meme", meme_id)

    async def expiring(self, minute: int) -> list[Offer]:
        """Open ones whose time is over in this minute since 1970."""
        return await self._all("open_until", minute)

    async def due(self) -> list[Offer]:
        """Closed ones whose money is to be freed."""
        return await self._all("due", 1)


class StoredSales(_Stored[SaleId, Sale]):
    """`Sales`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, SALES, codec.sale_bins, codec.sale)

    async def page(self, which: SaleFilter, *, after: str, limit: int) -> tuple[list[Sale], str]:
        """A page, newest first."""
        bought = newest(self._store, SALES.name, {"buyer_id": which.user_id, "meme_id": which.meme_id})
        sold = newest(self._store, SALES.name, {"seller_id": which.user_id})

        async def bought_or_sold(after: str, limit: int) -> list[Record]:
            both = [*await bought(after, limit), *await sold(after, limit)]
            return sorted(both, key=lambda record: record.key, reverse=True)[:limit]

        fetch = bought if which.user_id is None else bought_or_sold
        return await filled(fetch, codec.sale, which.matches, after, limit)

    async def due_memes(self) -> list[MemeId]:
        """Memes with sales whose consequences are not all done."""
        return list({sale.meme_id: None for sale in await self._all("due", 1)})

    async def due(self, meme_id: MemeId) -> list[Sale]:
        """Sales of the meme whose consequences are not all done, by number."""
        return sorted(await self._all("due_meme", meme_id), key=lambda sale: sale.number)


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

    async def totals(self) -> Totals:
        """The sums over all memes."""
        quotes = [codec.quote(record) async for record in scan_all(self._store, QUOTES.name)]
        return Totals(sum(quote.sales for quote in quotes), sum(quote.volume_sats for quote in quotes))

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


class StoredCandles:
    """`Candles`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, sale: Sale) -> None:
        """Counts the sale in its hour and its day, unless it is there."""
        for place in places_of(sale):
            await self._add(place, sale)

    async def get_many(self, places: Sequence[Place]) -> list[tuple[Place, Candle]]:
        """Those that have sales, in the order asked."""
        keys = [codec.candle_key(place) for place in places]
        records = await self._store.get_many(CANDLES.name, keys)
        return [
            (place, codec.candle(records[key]))
            for place, key in zip(places, keys, strict=True)
            if key in records
        ]

    async def _add(self, place: Place, sale: Sale) -> None:
        def bins(record: Record) -> Bins | None:
            before = codec.candle(record)
            after = adding(before, sale)
            return None if after == before else codec.candle_bins(after)

        key = codec.candle_key(place)
        if await change(self._store, CANDLES.name, key, bins) is None:
            try:
                await self._store.create(CANDLES.name, key, codec.candle_bins(adding(None, sale)))
            except Exists:
                await self._add(place, sale)
