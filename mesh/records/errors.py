"""What can go wrong in a record store, and what each failure says about the write it answers."""

from __future__ import annotations

from mesh.errors import Aborted, Code, Exhausted, Failure, Unavailable


class Exists(Failure):
    """There is a record with this key already; nothing was changed."""

    code = Code.ALREADY_EXISTS
    reason = "RECORD_EXISTS"


class Stale(Aborted):
    """The record was changed since it was read; nothing was changed by this write."""

    reason = "RECORD_STALE"


class Missing(Stale):
    """There is no record with this key to change; nothing was changed."""

    reason = "RECORD_MISSING"


class Busy(Exhausted):
    """The store has more work than it takes; nothing was done, try again."""

    reason = "STORE_BUSY"


class StoreUnavailable(Unavailable):
    """The store cannot be reached; nothing was changed."""

    reason = "STORE_UNAVAILABLE"


class StoreMissing(StoreUnavailable):
    """There is no store where one was to be read; nothing was made."""

    reason = "STORE_MISSING"


class InDoubt(Unavailable):
    """The write may have happened, may not have, and may still happen: read before deciding.

    A write whose awaiting task was cancelled is in doubt as well.
    """

    reason = "STORE_IN_DOUBT"


class TooBig(Failure):
    """The record is larger than a store takes (`RECORD_BYTES_MAX`); nothing was changed."""

    code = Code.INVALID_ARGUMENT
    reason = "RECORD_TOO_BIG"


class Misuse(Failure):
    """The store was asked for something that its port does not offer; nothing was changed.

    An undeclared set or index, a value of another type, an integer outside of int64, a page past its bound.
    """

    reason = "RECORD_MISUSE"


class BadRecord(Failure):
    """A record does not hold what its reader expects of it."""

    code = Code.DATA_LOSS
    reason = "RECORD_BAD"
