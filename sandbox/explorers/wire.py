"""Transactions as they are submitted: raw, or in extended format (BRC-30) with what each input spends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

EXTENDED_MARKER = bytes.fromhex("0000000000ef")

Outpoint = tuple[str, int]


class Malformed(ValueError):  # noqa: N818 - an answer, as failures are
    """The bytes are no transaction."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A transaction in its usual form. `spent_sats` is what its inputs bring, None when it does not say."""

    raw: bytes
    txid: str
    spends: tuple[Outpoint, ...]
    paid_sats: int
    spent_sats: int | None


def read_all(data: bytes) -> Iterator[Submitted]:
    """The transactions in a stream of bytes. Raises Malformed."""
    reader = _Reader(data)
    while reader.at < len(data):
        yield reader.transaction()


def read_one(data: bytes) -> Submitted:
    """Exactly one transaction. Raises Malformed."""
    reader = _Reader(data)
    found = reader.transaction()
    if reader.at != len(data):
        raise Malformed("bytes are left over behind the transaction")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def transaction(self) -> Submitted:
        version = self._take(4)
        extended = self._data[self.at : self.at + len(EXTENDED_MARKER)] == EXTENDED_MARKER
        if extended:
            self.at += len(EXTENDED_MARKER)
        inputs = [self._input(extended=extended) for _ in range(self._count())]
        outputs_at = self.at
        paid_sats = sum(self._output() for _ in range(self._count()))
        outputs = self._data[outputs_at : self.at]
        raw = b"".join(
            (version, varint(len(inputs)), *(given for given, _, _ in inputs), outputs, self._take(4))
        )
        txid = hashlib.sha256(hashlib.sha256(raw).digest()).digest()[::-1].hex()
        return Submitted(
            raw,
            txid,
            tuple(outpoint for _, outpoint, _ in inputs),
            paid_sats,
            sum(sats for _, _, sats in inputs) if extended else None,
        )

    def _input(self, *, extended: bool) -> tuple[bytes, Outpoint, int]:
        """Its bytes in the usual form, what it spends, and the satoshis there (0 when it does not say)."""
        begin = self.at
        outpoint = (self._take(32)[::-1].hex(), int.from_bytes(self._take(4), "little"))
        self._take(self._varint())
        self._take(4)
        given = self._data[begin : self.at]
        return given, outpoint, self._output() if extended else 0

    def _output(self) -> int:
        sats = int.from_bytes(self._take(8), "little")
        self._take(self._varint())
        return sats

    def _count(self) -> int:
        found = self._varint()
        if found > len(self._data):
            raise Malformed("more items are announced than the bytes can hold")
        return found

    def _varint(self) -> int:
        first = self._take(1)[0]
        return first if first < 0xFD else int.from_bytes(self._take(1 << (first - 0xFC)), "little")

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self._data):
            raise Malformed("the bytes end too early")
        found = self._data[self.at : end]
        self.at = end
        return found


def varint(number: int) -> bytes:
    """Bitcoin's variable-length integer, up to four bytes."""
    if number < 0xFD:
        return bytes((number,))
    if number <= 0xFFFF:
        return b"\xfd" + number.to_bytes(2, "little")
    return b"\xfe" + number.to_bytes(4, "little")
