"""Why the market refuses: one class per reason of its contract (ID_REUSED is mesh.errors.IdReused)."""

from __future__ import annotations

from mesh.errors import Code as StatusCode
from mesh.errors import (
    FailedPrecondition,
    Failure,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)


class ListingNotFound(NotFound):
    """No listing has this id."""

    reason = "LISTING_NOT_FOUND"


class ListingClosed(FailedPrecondition):
    """The listing cannot be bought or changed any more, or somebody is buying it."""

    reason = "LISTING_CLOSED"


class VersionChanged(FailedPrecondition):
    """The listing was changed since the version that the caller saw."""

    reason = "VERSION_CHANGED"


class ExpiryInvalid(InvalidArgument):
    """The expiry is not ahead of now, or too far ahead."""

    reason = "EXPIRY_INVALID"


class OfferNotFound(NotFound):
    """No offer has this id."""

    reason = "OFFER_NOT_FOUND"


class OfferClosed(FailedPrecondition):
    """The offer is not open any more, or not yet."""

    reason = "OFFER_CLOSED"


class NotBuyer(PermissionDenied):
    """Only who made the offer or an administrator may cancel it."""

    reason = "NOT_BUYER"


class TitleBusy(FailedPrecondition):
    """The title is being sold at this moment; ask again when that is over."""

    reason = "TITLE_BUSY"


class SeriesRangeInvalid(InvalidArgument):
    """The series does not begin before it ends, or has more steps than one answer."""

    reason = "SERIES_RANGE_INVALID"


class NotOwner(PermissionDenied):
    """Only the title's owner may sell it."""

    reason = "NOT_OWNER"


class AlreadyListed(Failure):
    """The title is listed already."""

    code = StatusCode.ALREADY_EXISTS
    reason = "ALREADY_LISTED"


class PriceTooLow(InvalidArgument):
    """The price is below the smallest."""

    reason = "PRICE_TOO_LOW"


class PriceChanged(FailedPrecondition):
    """The price is not the one expected."""

    reason = "PRICE_CHANGED"


class SelfPurchase(FailedPrecondition):
    """The buyer is the seller."""

    reason = "SELF_PURCHASE"


class InsufficientFunds(FailedPrecondition):
    """The buyer's balance does not cover the price."""

    reason = "INSUFFICIENT_FUNDS"


class NotSeller(PermissionDenied):
    """Only the seller may change a listing, and only the seller or an administrator may cancel it."""

    reason = "NOT_SELLER"


class TitleNotFound(NotFound):
    """No title exists for this meme."""

    reason = "TITLE_NOT_FOUND"


class SaleNotFound(NotFound):
    """No sale has this id."""

    reason = "SALE_NOT_FOUND"


class Unsettled(Unavailable):
    """It is being settled and its outcome is not known yet; repeat the call with the same id."""


class SettlementFault(Failure):
    """The ledger refused a settlement for a reason that no purchase should meet; nothing moved."""

    reason = "SETTLEMENT_FAULT"


class ImpossibleMove(Failure):
    """Something was to change in a way in which it never changes: a mistake in this service."""
