"""Domain values as messages of the contract, and back."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.market.v1 import market_pb2, market_service_pb2

from services.market.domain.listings import Listing, ListingState
from services.market.domain.sales import Quote, Sale

_STATES = {
    ListingState.OPEN: market_pb2.LISTING_STATE_OPEN,
    ListingState.SOLD: market_pb2.LISTING_STATE_SOLD,
    ListingState.CANCELLED: market_pb2.LISTING_STATE_CANCELLED,
    ListingState.SETTLING: market_pb2.LISTING_STATE_SETTLING,
}
STATES = {message: state for state, message in _STATES.items()}


def timestamp(ns: int) -> Timestamp:
    """An instant in nanoseconds since 1970."""
    message = Timestamp()
    message.FromNanoseconds(ns)
    return message


def listing(listing: Listing) -> market_pb2.Listing:
    """A listing."""
    return market_pb2.Listing(
        id=listing.id,
        meme_id=listing.meme_id,
        seller_id=listing.seller_id,
        price_sats=listing.price_sats,
        state=_STATES[listing.state],
        created_at=timestamp(listing.created_ns),
        closed_at=timestamp(listing.closed_ns) if listing.closed_ns else None,
        sale_id=listing.sale_id or "",
    )


def sale(sale: Sale) -> market_pb2.Sale:
    """A sale."""
    return market_pb2.Sale(
        id=sale.id,
        listing_id=sale.listing_id,
        meme_id=sale.meme_id,
        seller_id=sale.seller_id,
        buyer_id=sale.buyer_id,
        price_sats=sale.price_sats,
        fee_sats=sale.fee_sats,
        sold_at=timestamp(sale.sold_ns),
    )


def quote(quote: Quote, open_listing: Listing | None) -> market_service_pb2.Quote:
    """A quote with the open listing, if there is one."""
    return market_service_pb2.Quote(
        meme_id=quote.meme_id,
        open_listing=listing(open_listing) if open_listing is not None else None,
        last_price_sats=quote.last_price_sats,
        sales=quote.sales,
        volume_sats=quote.volume_sats,
    )
