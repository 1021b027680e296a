"""Domain values as records, and back."""

from __future__ import annotations

from mesh.records import Bins, Record
from services.market.domain.candles import Candle, Place
from services.market.domain.deals import Acceptance, Holder
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Quote, Sale
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import (
    NEVER,
    Attempt,
    ListingId,
    MemeId,
    OfferId,
    SaleId,
    Sats,
    Terms,
    UserId,
    minute_of,
)


def listing_bins(listing: Listing) -> Bins:
    """A listing as a record."""
    open_until_ns = listing.terms.expires_ns if listing.state is ListingState.OPEN else NEVER
    return {
        "meme_id": listing.meme_id,
        "seller_id": listing.seller_id,
        "price_sats": listing.terms.price_sats,
        "expires_ns": listing.terms.expires_ns,
        "made_price": listing.made.price_sats,
        "made_expires": listing.made.expires_ns,
        "version": listing.version,
        "created_ns": listing.created_ns,
        "state": listing.state.value,
        "closed_ns": listing.closed_ns,
        "sale_id": listing.sale_id,
        "open_until": minute_of(open_until_ns) if open_until_ns != NEVER else None,
        **_attempt_bins(listing.attempt),
    }


def listing(record: Record) -> Listing:
    """A listing from its record."""
    terms = Terms(Sats(record.integer("price_sats")), record.integer("expires_ns", NEVER))
    made_price = record.integer("made_price", terms.price_sats)
    return Listing(
        id=ListingId(record.key),
        meme_id=MemeId(record.text("meme_id")),
        seller_id=UserId(record.text("seller_id")),
        made=Terms(Sats(made_price), record.integer("made_expires", NEVER)),
        terms=terms,
        created_ns=record.integer("created_ns"),
        version=record.integer("version", 1),
        state=ListingState(record.text("state")),
        attempt=_attempt(record),
        sale_id=_sale_id(record),
        closed_ns=record.integer("closed_ns"),
    )


def offer_bins(offer: Offer) -> Bins:
    """An offer as a record; the `due` bin is there while a closed one has money to be freed."""
    return {
        "meme_id": offer.meme_id,
        "seller_id": offer.seller_id,
        "buyer_id": offer.buyer_id,
        "price_sats": offer.terms.price_sats,
        "expires_ns": offer.terms.expires_ns,
        "created_ns": offer.created_ns,
        "state": offer.state.value,
        "closed_ns": offer.closed_ns,
        "sale_id": offer.sale_id,
        "held": offer.held,
        "due": 1 if offer.is_closed and offer.held else None,
        "live_meme": None if offer.is_closed else offer.meme_id,
        "open_until": minute_of(offer.terms.expires_ns) if offer.state is OfferState.OPEN else None,
        **_attempt_bins(offer.attempt),
    }


def offer(record: Record) -> Offer:
    """An offer from its record."""
    return Offer(
        id=OfferId(record.key),
        meme_id=MemeId(record.text("meme_id")),
        seller_id=UserId(record.text("seller_id")),
        buyer_id=UserId(record.text("buyer_id")),
        terms=Terms(Sats(record.integer("price_sats")), record.integer("expires_ns")),
        created_ns=record.integer("created_ns"),
        state=OfferState(record.text("state")),
        attempt=_attempt(record),
        sale_id=_sale_id(record),
        closed_ns=record.integer("closed_ns"),
        held=record.flag("held"),
    )


def sale_bins(sale: Sale) -> Bins:
    """A sale as a record; the `due` bins are there as long as something is left to do."""
    return {
        "listing_id": sale.listing_id,
        "offer_id": sale.offer_id,
        "meme_id": sale.meme_id,
        "seller_id": sale.seller_id,
        "buyer_id": sale.buyer_id,
        "price_sats": sale.price_sats,
        "fee_sats": sale.fee_sats,
        "sold_ns": sale.sold_ns,
        "number": sale.number,
        "announced": sale.announced,
        "offers_closed": sale.offers_closed,
        "title_moved": sale.title_moved,
        "due": 1 if sale.is_due else None,
        "due_meme": sale.meme_id if sale.is_due else None,
    }


def sale(record: Record) -> Sale:
    """A sale from its record."""
    listing_id, offer_id = record.text("listing_id", ""), record.text("offer_id", "")
    return Sale(
        id=SaleId(record.key),
        meme_id=MemeId(record.text("meme_id")),
        seller_id=UserId(record.text("seller_id")),
        buyer_id=UserId(record.text("buyer_id")),
        price_sats=Sats(record.integer("price_sats")),
        fee_sats=Sats(record.integer("fee_sats")),
        sold_ns=record.integer("sold_ns"),
        number=record.integer("number"),
        listing_id=ListingId(listing_id) if listing_id else None,
        offer_id=OfferId(offer_id) if offer_id else None,
        announced=record.flag("announced"),
        offers_closed=record.flag("offers_closed", True),
        title_moved=record.flag("title_moved"),
    )


def quote_bins(quote: Quote) -> Bins:
    """A quote as a record, with who holds its place."""
    return {
        "last_price": quote.last_price_sats,
        "last_sold_ns": quote.last_sold_ns,
        "sales": quote.sales,
        "volume_sats": quote.volume_sats,
        **_place_bins(quote.place),
    }


def quote(record: Record) -> Quote:
    """A quote from its record."""
    meme_id = MemeId(record.key)
    return Quote(
        meme_id=meme_id,
        place=_place(record, meme_id),
        last_price_sats=Sats(record.integer("last_price")),
        last_sold_ns=record.integer("last_sold_ns", 0),
        sales=record.integer("sales"),
        volume_sats=Sats(record.integer("volume_sats")),
    )


def candle_key(place: Place) -> str:
    """The key of a candle's record."""
    return f"{place.meme_id} {place.step.name} {place.index}"


def candle_bins(candle: Candle) -> Bins:
    """A candle as a record."""
    return {
        "open_sats": candle.open_sats,
        "high_sats": candle.high_sats,
        "low_sats": candle.low_sats,
        "close_sats": candle.close_sats,
        "volume_sats": candle.volume_sats,
        "sales": candle.sales,
        "last_number": candle.last_number,
    }


def candle(record: Record) -> Candle:
    """A candle from its record."""
    return Candle(
        open_sats=Sats(record.integer("open_sats")),
        high_sats=Sats(record.integer("high_sats")),
        low_sats=Sats(record.integer("low_sats")),
        close_sats=Sats(record.integer("close_sats")),
        volume_sats=Sats(record.integer("volume_sats")),
        sales=record.integer("sales"),
        last_number=record.integer("last_number"),
    )


def _place_bins(holder: Holder | None) -> Bins:
    match holder:
        case None:
            return {}
        case Acceptance():
            return {"place_offer": holder.offer_id, **_attempt_bins(holder.attempt)}
    return {
        "place_id": holder.id,
        "place_seller": holder.seller_id,
        "place_price": holder.made.price_sats,
        "place_expires": holder.made.expires_ns,
        "place_created": holder.created_ns,
    }


def _place(record: Record, meme_id: MemeId) -> Holder | None:
    listing_id, offer_id, attempt = (
        record.text("place_id", ""),
        record.text("place_offer", ""),
        _attempt(record),
    )
    if offer_id and attempt is not None:
        return Acceptance(OfferId(offer_id), attempt)
    if not listing_id:
        return None
    made = Terms(Sats(record.integer("place_price")), record.integer("place_expires", NEVER))
    return Listing(
        id=ListingId(listing_id),
        meme_id=meme_id,
        seller_id=UserId(record.text("place_seller")),
        made=made,
        terms=made,
        created_ns=record.integer("place_created"),
    )


def _attempt_bins(attempt: Attempt | None) -> Bins:
    return {
        "try_sale_id": attempt.sale_id if attempt else None,
        "try_buyer_id": attempt.buyer_id if attempt else None,
        "try_claimed_ns": attempt.claimed_ns if attempt else None,
    }


def _attempt(record: Record) -> Attempt | None:
    sale_id = record.text("try_sale_id", "")
    if not sale_id:
        return None
    return Attempt(SaleId(sale_id), UserId(record.text("try_buyer_id")), record.integer("try_claimed_ns"))


def _sale_id(record: Record) -> SaleId | None:
    sale_id = record.text("sale_id", "")
    return SaleId(sale_id) if sale_id else None
