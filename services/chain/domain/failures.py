"""What the chain service refuses, and why; each reason stands in the contract's ErrorReason."""

from __future__ import annotations

from mesh.errors import Code, FailedPrecondition, Failure, InvalidArgument, NotFound, PermissionDenied


class BlockNotFound(NotFound):
    """No block has this hash or height on the winning chain."""

    reason = "BLOCK_NOT_FOUND"


class AddressInvalid(InvalidArgument):
    """The address is malformed, of another network, or of a kind that cannot be paid."""

    reason = "ADDRESS_INVALID"


class AmountTooSmall(InvalidArgument):
    """The amount is below the smallest withdrawal."""

    reason = "AMOUNT_TOO_SMALL"


class InsufficientFunds(FailedPrecondition):
    """The balance does not cover the amount and the miner's fee."""

    reason = "INSUFFICIENT_FUNDS"


class WithdrawalNotFound(NotFound):
    """No withdrawal has this id."""

    reason = "WITHDRAWAL_NOT_FOUND"


class InscriptionNotFound(NotFound):
    """Nothing was inscribed for this meme."""

    reason = "INSCRIPTION_NOT_FOUND"


class RecordNotFound(NotFound):
    """No record was written for this round."""

    reason = "RECORD_NOT_FOUND"


class DataTooLarge(InvalidArgument):
    """The data is too large for one output."""

    reason = "DATA_TOO_LARGE"


class WalletEmpty(FailedPrecondition):
    """The hot wallet has no free coins for this; it is retried when it has."""

    reason = "WALLET_EMPTY"


class NodeUnavailable(Failure):
    """The node does not answer."""

    code = Code.UNAVAILABLE
    reason = "NODE_UNAVAILABLE"


class SourceLies(NodeUnavailable):
    """A source of the chain told something that cannot be true; nothing of it is used."""

    reason = "SOURCE_LIES"


class TransactionNotFound(NotFound):
    """No transaction has this id."""

    reason = "TRANSACTION_NOT_FOUND"


class FreezeNotFound(NotFound):
    """No spend of a coin of ours by this transaction has stopped the wallet."""

    reason = "FREEZE_NOT_FOUND"


class NotLeader(Failure):
    """This instance does not lead; ask the one that serves."""

    code = Code.UNAVAILABLE
    reason = "NOT_LEADER"


class NotYours(PermissionDenied):
    """The object belongs to another user."""

    reason = "NOT_YOURS"


class LedgerInDoubt(Failure):
    """A call to the ledger has no known outcome yet; ask again in a moment."""

    code = Code.UNAVAILABLE
    reason = "LEDGER_IN_DOUBT"


class BadTransaction(Exception):  # noqa: N818 - like the failures, though nobody outside hears of it
    """A transaction about to be signed breaks a rule of value or fee: a fault of ours, nothing is sent."""


class ImpossibleTransition(Exception):  # noqa: N818 - see above
    """A state was to change in a way its table does not know."""
