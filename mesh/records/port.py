"""The store port: flat records in named sets, changed one at a time; what the adapters promise, and bounds.

- A record is a mapping of bin names to integers (int64), text, bytes, floats, booleans. It has at least one
  bin; a bin given as None is left out. A write always gives the whole record.
- A write that returned survives the death of this process. There are no transactions over several records and
  no expiry. `delete` is a hint: after a crash of the store a deleted record may be back, so what must not
  come back is marked by a bin instead, and the key of a deleted record is not used again.
- A generation changes with every write. Compare it for equality only (Aerospike's wraps after 65,535 writes).
- Pages are in the order of keys (code points). UUIDv7 keys therefore list in the order they were made.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from mesh.records.errors import BadRecord, Misuse, Stale, TooBig

Kept = int | str | bytes | float | bool
Value = Kept | None
Bins = Mapping[str, Value]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
KEY_BYTES_MAX = 512
KEYS_MAX = 1_000
PAGE_MAX = 1_000
INDEXED_BYTES_MAX = 512
# What a record of 1 MiB, Aerospike's bound, leaves beside its header, key and set name.
RECORD_BYTES_MAX = 1024 * 1024 - 4096
ATTEMPTS_MAX = 16

_SET_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# 15 bytes: Aerospike's bound.
_BIN_NAME = re.compile(r"[a-z][a-z0-9_]{0,14}")
_BIN_OVERHEAD_BYTES = 8
_NUMBER_BYTES = 8

Expected = TypeVar("Expected", str, int, bytes, float, bool)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was when read. The typed readers raise BadRecord when the bin holds something else."""

    key: str
    bins: Mapping[str, Value]
    generation: int

    def text(self, name: str, default: str | None = None) -> str:
        """The bin's text."""
        return self._read(name, str, default)

    def integer(self, name: str, default: int | None = None) -> int:
        """The bin's integer."""
        return self._read(name, int, default)

    def blob(self, name: str, default: bytes | None = None) -> bytes:
        """The bin's bytes."""
        return self._read(name, bytes, default)

    def real(self, name: str, default: float | None = None) -> float:
        """The bin's float."""
        return self._read(name, float, default)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """The bin's boolean."""
        return self._read(name, bool, default)

    def _read(self, name: str, expected: type[Expected], default: Expected | None) -> Expected:
        value = self.bins.get(name, default)
        # Exact types: a boolean is an int to Python, and not to a reader of records.
        if type(value) is expected:
            return value
        raise BadRecord(
            f"record {self.key!r}: bin {name!r} holds {type(value).__name__}, not {expected.__name__}"
        )


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A set that a service declares when it opens its store, with the bins that `query_eq` may ask for."""

    name: str
    indexes: Mapping[str, type[str | int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _SET_NAME.fullmatch(self.name):
            raise Misuse(f"set name {self.name!r} is not of the form {_SET_NAME.pattern}")
        for name, kind in self.indexes.items():
            if not _BIN_NAME.fullmatch(name) or kind not in (str, int):
                raise Misuse(f"index {name!r} of set {self.name!r}: bad bin name, or neither str nor int")


class Store(Protocol):
    """Where a service keeps its records.

    Every method raises Busy (nothing was done), StoreUnavailable (nothing was changed) and Misuse; writes
    raise InDoubt as well.
    """

    async def get(self, set_name: str, key: str) -> Record | None:
        """The record, or None."""
        ...

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        """Those of at most `KEYS_MAX` records that exist, by key; not necessarily as of one instant."""
        ...

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        """Writes a record that does not exist yet and returns its generation. Raises Exists, TooBig."""
        ...

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        """Replaces the record if it still has this generation, and returns the new one.

        Raises Stale, and Missing (a Stale) when there is no record; TooBig.
        """
        ...

    async def query_eq(
        self,
        set_name: str,
        bin_name: str,
        value: str | int,
        *,
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        """Records whose indexed bin has this value, in the order of keys, from behind the key `after` on.

        A page shorter than `limit` is the last. A record changed meanwhile is seen as it was or as it is.
        On Aerospike each page costs a walk over all matches: keep what one value selects in the thousands.
        """
        ...

    async def scan(
        self,
        set_name: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        """Records whose keys begin with `prefix`, otherwise as `query_eq`.

        On Aerospike each page costs a walk over the whole set: for start-up and rebuilding, not for requests.
        """
        ...

    async def delete(self, set_name: str, key: str) -> None:
        """Removes the record, if there is one. A hint, see above."""
        ...


async def scan_all(store: Store, set_name: str, *, prefix: str = "") -> AsyncIterator[Record]:
    """All records of the set in the order of keys, page by page."""
    after = ""
    while page := await store.scan(set_name, prefix=prefix, after=after):
        for record in page:
            yield record
        if len(page) < PAGE_MAX:
            return
        after = page[-1].key


async def query_all(store: Store, set_name: str, bin_name: str, value: str | int) -> AsyncIterator[Record]:
    """All records whose indexed bin has this value, in the order of keys, page by page."""
    after = ""
    while page := await store.query_eq(set_name, bin_name, value, after=after):
        for record in page:
            yield record
        if len(page) < PAGE_MAX:
            return
        after = page[-1].key


async def change(
    store: Store, set_name: str, key: str, decide: Callable[[Record], Bins | None]
) -> Record | None:
    """Reads, lets `decide` say the new bins (None: leave it), writes; again when another writer was faster.

    Returns the record as written, or as found when left; None when there is none. `decide` may run several
    times; what it raises is passed on with nothing changed. Raises Stale after `ATTEMPTS_MAX` rounds.
    """
    for _ in range(ATTEMPTS_MAX):
        record = await store.get(set_name, key)
        if record is None:
            return None
        bins = decide(record)
        if bins is None:
            return record
        try:
            generation = await store.put_if(set_name, key, bins, record.generation)
        except Stale:
            continue
        return Record(key, {name: value for name, value in bins.items() if value is not None}, generation)
    raise Stale(f"record {key!r} of {set_name!r} was changed by others {ATTEMPTS_MAX} times in a row")


class Catalogue:
    """The declared sets, and the checks that every adapter makes before it touches its store."""

    def __init__(self, sets: Iterable[SetSpec]) -> None:
        self.specs = {spec.name: spec for spec in sets}

    def check_key(self, set_name: str, key: str) -> None:
        """Raises Misuse unless the set is declared and the key can be one."""
        if set_name not in self.specs:
            raise Misuse(f"set {set_name!r} is not declared")
        if not key or _text_bytes(key) > KEY_BYTES_MAX:
            raise Misuse(f"a key has 1 to {KEY_BYTES_MAX} bytes")

    def check_keys(self, set_name: str, keys: Sequence[str]) -> None:
        """Raises Misuse unless these keys may be read at once."""
        if len(keys) > KEYS_MAX:
            raise Misuse(f"{len(keys)} keys at once, at most {KEYS_MAX}")
        for key in keys:
            self.check_key(set_name, key)

    def check_page(self, set_name: str, limit: int, *texts: str) -> None:
        """Raises Misuse unless a page may be asked for like this."""
        if not 1 <= limit <= PAGE_MAX:
            raise Misuse(f"a page has 1 to {PAGE_MAX} records")
        if set_name not in self.specs:
            raise Misuse(f"set {set_name!r} is not declared")
        for text in texts:
            _text_bytes(text)

    def checked_index(self, set_name: str, bin_name: str, value: str | int) -> str | int:
        """The value to look for. Raises Misuse unless the bin is indexed for values like this one."""
        spec = self.specs.get(set_name)
        found, _ = measured(bin_name, value)
        if spec is None or spec.indexes.get(bin_name) is not type(found) or not isinstance(found, str | int):
            raise Misuse(f"set {set_name!r} has no index of {bin_name!r} for {type(value).__name__}")
        return found

    def checked(self, set_name: str, key: str, bins: Bins) -> dict[str, Kept]:
        """The bins to be stored: plain values, those that are None left out. Raises Misuse, TooBig."""
        self.check_key(set_name, key)
        indexes = self.specs[set_name].indexes
        kept: dict[str, Kept] = {}
        record_bytes = 0
        for name, value in bins.items():
            if not _BIN_NAME.fullmatch(name):
                raise Misuse(f"bin name {name!r} is not of the form {_BIN_NAME.pattern}")
            if value is None:
                continue
            kept[name], value_bytes = measured(name, value)
            record_bytes += len(name) + value_bytes + _BIN_OVERHEAD_BYTES
            if name in indexes and (type(kept[name]) is not indexes[name] or value_bytes > INDEXED_BYTES_MAX):
                raise Misuse(
                    f"bin {name!r} of {set_name!r} is indexed: not a {indexes[name].__name__}, or too long"
                )
        if not kept:
            raise Misuse(f"record {key!r} of {set_name!r} has no bins")
        if record_bytes > RECORD_BYTES_MAX:
            raise TooBig(
                f"record {key!r} of {set_name!r} has {record_bytes} bytes, at most {RECORD_BYTES_MAX}"
            )
        return kept


def measured(name: str, value: Kept) -> tuple[Kept, int]:
    """The value as it is kept (enumerations by their value), and its bytes. Raises Misuse if it cannot be."""
    match value:
        case bool():
            return value, _NUMBER_BYTES
        case int():
            if not INT_MIN <= value <= INT_MAX:
                raise Misuse(f"bin {name!r}: {value} does not fit int64")
            return int(value), _NUMBER_BYTES
        case str():
            return str(value), _text_bytes(value)
        case bytes():
            return value, len(value)
        case float():
            if not math.isfinite(value):
                raise Misuse(f"bin {name!r}: {value} is not a finite number")
            return value, _NUMBER_BYTES
    raise Misuse(f"bin {name!r}: a {type(value).__name__} is none of int, str, bytes, float, bool")


def prefix_end(prefix: str) -> str | None:
    """The first text, by code points, behind all that begin with `prefix`; None if there is none."""
    for length in range(len(prefix), 0, -1):
        last = ord(prefix[length - 1])
        if last < sys.maxunicode:
            follower = last + 1
            if 0xD800 <= follower <= 0xDFFF:  # surrogates are no characters
                follower = 0xE000
            return prefix[: length - 1] + chr(follower)
    return None


def _text_bytes(text: str) -> int:
    if "\0" in text:
        raise Misuse("text in records has no NUL characters")
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as problem:
        raise Misuse("text in records is valid Unicode") from problem
