"""Why the ledger refuses: the numbers are those of the contract's ErrorReason (a test compares them)."""

from __future__ import annotations

from enum import IntEnum

from mesh.errors import Code, Failure


class Reason(IntEnum):
    """See satreel.ledger.v1.ErrorReason for what each means. OK says that nothing was refused."""

    OK = 0
    ID_REUSED = 1
    ACCOUNT_NOT_FOUND = 2
    INSUFFICIENT_FUNDS = 3
    ASSET_MISMATCH = 4
    AMOUNT_NOT_POSITIVE = 5
    OVERFLOW = 6
    LINKED_CHAIN_OPEN = 7
    LINKED_TRANSFER_FAILED = 8
    SAME_ACCOUNT = 9
    HOLD_NOT_FOUND = 10
    HOLD_CLOSED = 11
    HOLD_EXCEEDED = 12
    SESSION_NOT_FOUND = 13
    SESSION_CLOSED = 14
    SESSION_OVERLAP = 15
    ROUND_NOT_ACTIVE = 16
    ROUND_NOT_FOUND = 17
    ROUND_OVERLAP = 18
    NOT_AN_ENTRY = 19
    SECOND_OUT_OF_RANGE = 20
    GRACE_OVER = 21
    RANKING_MISMATCH = 22
    TITLE_ALREADY_ISSUED = 23
    TITLE_NOT_FOUND = 24
    DEPOSIT_NOT_FOUND = 25
    ACCOUNT_FORBIDDEN = 26
    NOT_LEADER = 27
    ACCOUNT_IN_DEBT = 28
    PAGE_TOKEN_INVALID = 29
    ROUND_VOIDED = 30
    CREATOR_MISMATCH = 31
    ROUND_INVALID = 32
    TOO_STALE = 33
    ID_OUT_OF_TIME = 34
    TOO_MANY_SESSIONS = 35
    COMMAND_TOO_BIG = 36
    # No rule refuses for these: the queue, the history and the archive have failures of their own.
    QUEUE_FULL = 37
    HISTORY_BROKEN = 38
    ARCHIVE_UNAVAILABLE = 39
    COLUMNS_UNEVEN = 40


_CODES = {
    Reason.ID_REUSED: Code.ALREADY_EXISTS,
    Reason.TITLE_ALREADY_ISSUED: Code.ALREADY_EXISTS,
    Reason.ACCOUNT_NOT_FOUND: Code.NOT_FOUND,
    Reason.SESSION_NOT_FOUND: Code.NOT_FOUND,
    Reason.ROUND_NOT_FOUND: Code.NOT_FOUND,
    Reason.TITLE_NOT_FOUND: Code.NOT_FOUND,
    Reason.DEPOSIT_NOT_FOUND: Code.NOT_FOUND,
    Reason.RANKING_MISMATCH: Code.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_INVALID: Code.INVALID_ARGUMENT,
    Reason.LINKED_CHAIN_OPEN: Code.INVALID_ARGUMENT,
    Reason.ROUND_INVALID: Code.INVALID_ARGUMENT,
    Reason.COMMAND_TOO_BIG: Code.INVALID_ARGUMENT,
    Reason.COLUMNS_UNEVEN: Code.INVALID_ARGUMENT,
    Reason.ACCOUNT_FORBIDDEN: Code.PERMISSION_DENIED,
    Reason.NOT_LEADER: Code.UNAVAILABLE,
    Reason.TOO_STALE: Code.UNAVAILABLE,
    Reason.OVERFLOW: Code.OUT_OF_RANGE,
    Reason.ID_OUT_OF_TIME: Code.OUT_OF_RANGE,
    Reason.TOO_MANY_SESSIONS: Code.RESOURCE_EXHAUSTED,
    Reason.QUEUE_FULL: Code.RESOURCE_EXHAUSTED,
    Reason.HISTORY_BROKEN: Code.DATA_LOSS,
    Reason.ARCHIVE_UNAVAILABLE: Code.UNAVAILABLE,
}


class Refused(Failure):
    """A command or a question was refused, and nothing changed."""

    def __init__(self, reason: Reason, message: str, **metadata: object) -> None:
        super().__init__(message, **metadata)
        self.code = _CODES.get(reason, Code.FAILED_PRECONDITION)
        self.reason = reason.name
        self.number = reason


class LedgerImbalance(Exception):  # noqa: N818 - names what is wrong, as accountants do
    """An invariant of the ledger does not hold: a fault of ours, never of a caller."""
