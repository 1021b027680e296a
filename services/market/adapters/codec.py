"""Domain values as records, and back."""

from __future__ import annotations

from mesh.records import Bins, Record
from services.market.domain.listings import (
    Attempt,
    Listing,
    ListingId,
    ListingState,
    MemeId,
    SaleId,
    Sats,
    UserId,
)
from services.market.domain.sales import Quote, Sale


def listing_bins(listing: Listing) -> Bins:
    """A listing as a record."""
    attempt = listing.attempt
    return {
        "meme_id": listing.meme_id,
        "seller_id": listing.seller_id,
        "price_sats": listing.price_sats,
        "created_ns": listing.created_ns,
        "state": listing.state.value,
        "closed_ns": listing.closed_ns,
        "sale_id": listing.sale_id,
        "try_sale_id": attempt.sale_id if attempt else None,
        "try_buyer_id": attempt.buyer_id if attempt else None,
        "try_claimed_ns": attempt.claimed_ns if attempt else None,
    }


def listing(record: Record) -> Listing:
    """A listing from its record."""
    sale_id, try_sale_id = record.text("sale_id", ""), record.text("try_sale_id", "")
    attempt = None
    if try_sale_id:
        attempt = Attempt(
            SaleId(try_sale_id), UserId(record.text("try_buyer_id")), record.integer("try_claimed_ns")
        )
    return Listing(
        id=ListingId(record.key),
        meme_id=MemeId(record.text("meme_id")),
        seller_id=UserId(record.text("seller_id")),
        price_sats=Sats(record.integer("price_sats")),
        created_ns=record.integer("created_ns"),
        state=ListingState(record.text("state")),
        attempt=attempt,
        sale_id=SaleId(sale_id) if sale_id else None,
        closed_ns=record.integer("closed_ns"),
    )


def sale_bins(sale: Sale) -> Bins:
    """A sale as a record; the `due` bins are there as long as something is left to do."""
    due = not (sale.announced and sale.title_moved)
    return {
        "listing_id": sale.listing_id,
        "meme_id": sale.meme_id,
        "seller_id": sale.seller_id,
        "buyer_id": sale.buyer_id,
        "price_sats": sale.price_sats,
        "fee_sats": sale.fee_sats,
        "sold_ns": sale.sold_ns,
        "number": sale.number,
        "announced": sale.announced,
        "title_moved": sale.title_moved,
        "due": 1 if due else None,
        "due_meme": sale.meme_id if due else None,
    }


def sale(record: Record) -> Sale:
    """A sale from its record."""
    return Sale(
        id=SaleId(record.key),
        listing_id=ListingId(record.text("listing_id")),
        meme_id=MemeId(record.text("meme_id")),
        seller_id=UserId(record.text("seller_id")),
        buyer_id=UserId(record.text("buyer_id")),
        price_sats=Sats(record.integer("price_sats")),
        fee_sats=Sats(record.integer("fee_sats")),
        sold_ns=record.integer("sold_ns"),
        number=record.integer("number"),
        announced=record.flag("announced"),
        title_moved=record.flag("title_moved"),
    )


def quote_bins(quote: Quote) -> Bins:
    """A quote as a record, with the offer that holds its place."""
    place = quote.place
    return {
        "last_price": quote.last_price_sats,
        "sales": quote.sales,
        "volume_sats": quote.volume_sats,
        "place_id": place.id if place else None,
        "place_seller": place.seller_id if place else None,
        "place_price": place.price_sats if place else None,
        "place_created": place.created_ns if place else None,
    }


def quote(record: Record) -> Quote:
    """A quote from its record."""
    meme_id, place_id = MemeId(record.key), record.text("place_id", "")
    place = None
    if place_id:
        place = Listing(
            id=ListingId(place_id),
            meme_id=meme_id,
            seller_id=UserId(record.text("place_seller")),
            price_sats=Sats(record.integer("place_price")),
            created_ns=record.integer("place_created"),
        )
    return Quote(
        meme_id=meme_id,
        place=place,
        last_price_sats=Sats(record.integer("last_price")),
        sales=record.integer("sales"),
        volume_sats=Sats(record.integer("volume_sats")),
    )
