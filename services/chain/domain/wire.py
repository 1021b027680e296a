"""Transactions and blocks as bytes: built, hashed for signing, parsed.

The SDK's Transaction class is left aside on purpose: its cached id goes stale and its checks accept outputs
above inputs. Here a transaction is a value; its digest is the node's (SIGHASH_ALL | FORKID).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.chain.domain.values import SATS_MAX, Outpoint, Sats, Txid

SIGHASH_ALL_FORKID = 0x41
SEQUENCE_FINAL = 0xFFFFFFFF
VERSION = 1
HEADER_BYTES = 80
EXTENDED_MARKER = bytes.fromhex("0000000000ef")
_NO_OUTPOINT = b"\x00" * 32
_VERSION, _SEQUENCE = VERSION.to_bytes(4, "little"), SEQUENCE_FINAL.to_bytes(4, "little")
_HASH_TYPE = SIGHASH_ALL_FORKID.to_bytes(4, "little")


class BadBytes(ValueError):  # noqa: N818 - an answer, as failures are
    """The bytes are no transaction, header, block or proof."""


def sha256d(data: bytes) -> bytes:
    """SHA-256 of SHA-256."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def hash_text(digest: bytes) -> str:
    """A hash as explorers show it."""
    return digest[::-1].hex()


def hash_bytes(text: str) -> bytes:
    """The hash that `hash_text` shows so."""
    return bytes.fromhex(text)[::-1]


def varint(number: int) -> bytes:
    """Bitcoin's variable-length integer."""
    if number < 0xFD:
        return bytes((number,))
    if number <= 0xFFFF:
        return b"\xfd" + number.to_bytes(2, "little")
    if number <= 0xFFFFFFFF:
        return b"\xfe" + number.to_bytes(4, "little")
    return b"\xff" + number.to_bytes(8, "little")


def varint_bytes(number: int) -> int:
    """How many bytes `varint` makes of it."""
    if number < 0xFD:
        return 1
    return 3 if number <= 0xFFFF else 5 if number <= 0xFFFFFFFF else 9


@dataclass(frozen=True, slots=True)
class Output:
    """An output: satoshis and the script that locks them."""

    sats: Sats
    script: bytes

    def __bytes__(self) -> bytes:
        return self.sats.to_bytes(8, "little") + varint(len(self.script)) + self.script

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes in a transaction."""
        return 8 + varint_bytes(len(self.script)) + len(self.script)


@dataclass(frozen=True, slots=True)
class Spent:
    """What an input spends: where it is, and what the signature covers of it."""

    outpoint: Outpoint
    sats: Sats
    script: bytes


def digests(spent: Sequence[Spent], outputs: Sequence[Output], lock_time: int = 0) -> Iterator[bytes]:
    """What each input's signature is over (BIP-143 digest, SIGHASH_ALL | FORKID), in order.

    What all inputs have in common is hashed once.
    """
    points = [bytes(item.outpoint) for item in spent]
    head = _VERSION + sha256d(b"".join(points)) + sha256d(_SEQUENCE * len(points))
    tail = _SEQUENCE + sha256d(b"".join(map(bytes, outputs))) + lock_time.to_bytes(4, "little") + _HASH_TYPE
    for point, item in zip(points, spent, strict=True):
        value = item.sats.to_bytes(8, "little")
        yield sha256d(head + point + varint(len(item.script)) + item.script + value + tail)


def unlocking(signature: bytes, public_key: bytes) -> bytes:
    """The script that spends a P2PKH output."""
    signed = signature + bytes((SIGHASH_ALL_FORKID,))
    return bytes((len(signed),)) + signed + bytes((len(public_key),)) + public_key


def assemble(
    spent: Sequence[Spent], unlocked: Sequence[bytes], outputs: Sequence[Output], lock_time: int = 0
) -> bytes:
    """The signed transaction. All its inputs are final, so its lock time holds nothing up."""
    parts = [_VERSION, varint(len(spent))]
    for item, script in zip(spent, unlocked, strict=True):
        parts += (bytes(item.outpoint), varint(len(script)), script, _SEQUENCE)
    parts += (varint(len(outputs)), *map(bytes, outputs), lock_time.to_bytes(4, "little"))
    return b"".join(parts)


def extended(raw: bytes, spent: Sequence[Output]) -> bytes:
    """The transaction in extended format (BRC-30): each input with the output that it spends.

    https://bsv.brc.dev/transactions/0030. Raises BadBytes: no transaction, or not one output for each input.
    """
    reader = ByteReader(raw)
    version, inputs = reader.take(4), []
    for _ in range(reader.varint()):
        begin = reader.at
        reader.take(36)
        reader.take(reader.varint())
        reader.take(4)
        inputs.append(raw[begin : reader.at])
    if len(inputs) != len(spent):
        raise BadBytes(f"{len(inputs)} inputs do not spend {len(spent)} outputs")
    parts = [version, EXTENDED_MARKER, varint(len(inputs))]
    for given, output in zip(inputs, spent, strict=True):
        parts += (given, bytes(output))
    return b"".join((*parts, raw[reader.at :]))


def txid_of(raw: bytes) -> Txid:
    """The id of a raw transaction."""
    return Txid(hash_text(sha256d(raw)))


@dataclass(frozen=True, slots=True)
class Transaction:
    """A parsed transaction. `spends` is empty for a coinbase."""

    txid: Txid
    spends: tuple[Outpoint, ...]
    outputs: tuple[Output, ...]
    raw: bytes

    @property
    def is_coinbase(self) -> bool:
        """Whether it made new coins."""
        return not self.spends


def parse_transaction(raw: bytes) -> Transaction:
    """Reads exactly one transaction. Raises BadBytes."""
    reader = ByteReader(raw)
    found = reader.transaction()
    reader.end("the transaction")
    return found


class ByteReader:
    """Reads bytes from the front. Every method raises BadBytes when they end too early."""

    __slots__ = ("at", "raw")

    def __init__(self, raw: bytes, at: int = 0) -> None:
        self.raw = raw
        self.at = at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        end = self.at + size
        if end > len(self.raw):
            raise BadBytes("the bytes end too early")
        found = self.raw[self.at : end]
        self.at = end
        return found

    def varint(self) -> int:
        """The next variable-length integer, in the shortest form or a longer one."""
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        return int.from_bytes(self.take(1 << (first - 0xFC)), "little")

    def shortest_varint(self) -> int:
        """The next variable-length integer. Raises BadBytes when it has a shorter form."""
        begin = self.at
        found = self.varint()
        if len(varint(found)) != self.at - begin:
            raise BadBytes("a number is not in its shortest form")
        return found

    def end(self, what: str) -> None:
        """Raises BadBytes unless everything was read."""
        if self.at != len(self.raw):
            raise BadBytes(f"bytes are left over behind {what}")

    def transaction(self) -> Transaction:
        """The next transaction."""
        begin = self.at
        self.take(4)
        spends = tuple(point for point in [self._input() for _ in range(self._count(41))] if point)
        outputs = tuple(self._output() for _ in range(self._count(9)))
        self.take(4)
        raw = self.raw[begin : self.at]
        return Transaction(txid_of(raw), spends, outputs, raw)

    def _count(self, bytes_min: int) -> int:
        """A number of items of at least so many bytes: a lie about it must not cost memory."""
        found = self.varint()
        if found * bytes_min > len(self.raw) - self.at:
            raise BadBytes("more items are announced than the bytes can hold")
        return found

    def _input(self) -> Outpoint | None:
        txid, (vout,) = self.take(32), struct.unpack("<I", self.take(4))
        self.take(self.varint())
        self.take(4)
        return None if txid == _NO_OUTPOINT else Outpoint(Txid(hash_text(txid)), vout)

    def _output(self) -> Output:
        (sats,) = struct.unpack("<Q", self.take(8))
        if sats > SATS_MAX:
            raise BadBytes("an output has more satoshis than there are")
        return Output(Sats(sats), self.take(self.varint()))
