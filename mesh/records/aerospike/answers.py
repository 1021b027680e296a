"""What Aerospike answers, in words of the port."""

from __future__ import annotations

from typing import cast

from aerospike import exception

from mesh.errors import Failure
from mesh.records.errors import Busy, Exists, InDoubt, Missing, Misuse, Stale, StoreUnavailable, TooBig
from mesh.records.port import Record, Value

Found = tuple[tuple[object, ...], dict[str, int], dict[str, object]]

_OK, _NOT_FOUND = 0, 2
_BUSY_CODES = frozenset({14, 18, 211})  # hot record, device overload, query queue full


def record_of(found: Found) -> Record:
    """The record that the client found."""
    (_, _, key, *_), meta, bins = found
    plain = {name: bytes(value) if isinstance(value, bytearray) else value for name, value in bins.items()}
    return Record(str(key), cast("dict[str, Value]", plain), meta["gen"])


def batch_result(code: int, found: Found | None) -> Record | None:
    """One of a batch: the record, None if there is none. Raises Busy, StoreUnavailable."""
    if code == _OK and found is not None:
        return record_of(found)
    if code == _NOT_FOUND:
        return None
    if code in _BUSY_CODES:
        raise Busy(f"Aerospike answers {code} for a record of the batch")
    raise StoreUnavailable(f"Aerospike answers {code} for a record of the batch")


def failure_of(problem: exception.AerospikeError, *, writes: bool) -> Failure:
    """The failure that the exception of a call means; `writes`: of one that may have changed something."""
    text = f"Aerospike: {type(problem).__name__} [{problem.code}] {problem.msg}"
    answers: list[tuple[type[exception.AerospikeError], type[Failure]]] = [
        (exception.RecordExistsError, Exists),
        (exception.RecordGenerationError, Stale),
        (exception.RecordNotFound, Missing),
        (exception.RecordTooBig, TooBig),
        (exception.IndexNotReadable, Busy),
        (exception.ParamError, Misuse),
        (exception.InvalidRequest, Misuse),
        (exception.BinNameError, Misuse),
    ]
    for raised, answer in answers:
        if isinstance(problem, raised):
            return answer(text)
    # A time-out whose write may yet arrive is in doubt whether or not the client thinks that it was sent.
    if writes and (problem.in_doubt or isinstance(problem, exception.TimeoutError)):
        return InDoubt(text)
    return Busy(text) if problem.code in _BUSY_CODES else StoreUnavailable(text)
