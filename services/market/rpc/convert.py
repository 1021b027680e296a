"""Domain values as messages of the contract, and back."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.market.v1 import market_pb2, market_service_pb2

from mesh.times import instant_ns
from services.market.app.reading import Overview
from services.market.domain.candles import Candle, Place, Step
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Quote, Sale
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import NEVER, Sats, Terms

_LISTING_STATES = {
    state: market_pb2.ListingState.Value(f"LISTING_STATE_{state.name}") for state in ListingState
}
_OFFER_STATES = {state: market_pb2.OfferState.Value(f"OFFER_STATE_{state.name}") for state in OfferState}
LISTING_STATES = {message: state for state, message in _LISTING_STATES.items()}
OFFER_STATES = {message: state for state, message in _OFFER_STATES.items()}
STEPS = {market_pb2.STEP_HOUR: Step.HOUR, market_pb2.STEP_DAY: Step.DAY}


def timestamp(ns: int) -> Timestamp:
    """An instant in nanoseconds since 1970."""
    message = Timestamp()
    message.FromNanoseconds(ns)
    return message


def terms(price_sats: int, expires_at: Timestamp | None) -> Terms:
    """A price and an expiry; None: it never expires."""
    return Terms(Sats(price_sats), NEVER if expires_at is None else instant(expires_at))


def instant(at: Timestamp) -> int:
    """Nanoseconds since 1970; what lies before is long past, so it is 1. Raises InvalidArgument."""
    return max(instant_ns(at), 1)


def listing(listing: Listing) -> market_pb2.Listing:
    """A listing."""
    return market_pb2.Listing(
        id=listing.id,
        meme_id=listing.meme_id,
        seller_id=listing.seller_id,
        price_sats=listing.price_sats,
        state=_LISTING_STATES[listing.state],
        created_at=timestamp(listing.created_ns),
        closed_at=timestamp(listing.closed_ns) if listing.closed_ns else None,
        sale_id=listing.sale_id or "",
        expires_at=timestamp(listing.terms.expires_ns) if listing.terms.expires_ns != NEVER else None,
        version=listing.version,
    )


def offer(offer: Offer) -> market_pb2.Offer:
    """An offer."""
    return market_pb2.Offer(
        id=offer.id,
        meme_id=offer.meme_id,
        seller_id=offer.seller_id,
        buyer_id=offer.buyer_id,
        price_sats=offer.price_sats,
        state=_OFFER_STATES[offer.state],
        created_at=timestamp(offer.created_ns),
        expires_at=timestamp(offer.terms.expires_ns),
        closed_at=timestamp(offer.closed_ns) if offer.closed_ns else None,
        sale_id=offer.sale_id or "",
    )


def sale(sale: Sale) -> market_pb2.Sale:
    """A sale."""
    return market_pb2.Sale(
        id=sale.id,
        listing_id=sale.listing_id or "",
        offer_id=sale.offer_id or "",
        meme_id=sale.meme_id,
        seller_id=sale.seller_id,
        buyer_id=sale.buyer_id,
        price_sats=sale.price_sats,
        fee_sats=sale.fee_sats,
        sold_at=timestamp(sale.sold_ns),
        number=sale.number,
    )


def quote(quote: Quote, open_listing: Listing | None) -> market_service_pb2.Quote:
    """A quote with the open listing, if there is one."""
    return market_service_pb2.Quote(
        meme_id=quote.meme_id,
        open_listing=listing(open_listing) if open_listing is not None else None,
        last_price_sats=quote.last_price_sats,
        sales=quote.sales,
        volume_sats=quote.volume_sats,
        floor_price_sats=open_listing.price_sats if open_listing is not None else 0,
        last_sold_at=timestamp(quote.last_sold_ns) if quote.last_sold_ns else None,
    )


def candle(place: Place, candle: Candle) -> market_pb2.Candle:
    """A candle of a series."""
    return market_pb2.Candle(
        starts_at=timestamp(place.starts_ns),
        open_sats=candle.open_sats,
        high_sats=candle.high_sats,
        low_sats=candle.low_sats,
        close_sats=candle.close_sats,
        volume_sats=candle.volume_sats,
        sales=candle.sales,
    )


def overview(overview: Overview) -> market_service_pb2.Overview:
    """The market in figures."""
    return market_service_pb2.Overview(
        at=timestamp(overview.at_ns),
        open_listings=overview.open_listings,
        floor_price_sats=overview.floor_sats,
        sales=overview.sales,
        volume_sats=overview.volume_sats,
    )
