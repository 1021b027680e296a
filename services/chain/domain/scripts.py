"""Scripts: operations and pushes, payments to key hashes.

What data outputs carry: `bitcom`; what ordinals carry: `inscriptions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

OP_0, OP_PUSHDATA1, OP_PUSHDATA2, OP_PUSHDATA4, OP_1, OP_16 = 0x00, 0x4C, 0x4D, 0x4E, 0x51, 0x60
OP_IF, OP_ENDIF, OP_RETURN, OP_DUP, OP_EQUALVERIFY = 0x63, 0x68, 0x6A, 0x76, 0x88
OP_HASH160, OP_CODESEPARATOR, OP_CHECKSIG = 0xA9, 0xAB, 0xAC

SCRIPT_BYTES_MAX = 500_000
"""Scripts above are refused by nodes with default policy."""

_P2PKH_HEAD, _P2PKH_TAIL = bytes((OP_DUP, OP_HASH160, 20)), bytes((OP_EQUALVERIFY, OP_CHECKSIG))
P2PKH_BYTES = 25
_P2PKH_CODES = [OP_DUP, OP_HASH160, 20, OP_EQUALVERIFY, OP_CHECKSIG]


class BadScript(ValueError):  # noqa: N818 - an answer, as failures are
    """The bytes are no script, or not one of the kind asked for; the message says why."""


def push(data: bytes) -> bytes:
    """The shortest push of these bytes (not of small numbers: data stays data)."""
    size = len(data)
    if size < OP_PUSHDATA1:
        return bytes((size,)) + data
    if size <= 0xFF:
        return bytes((OP_PUSHDATA1, size)) + data
    if size <= 0xFFFF:
        return bytes((OP_PUSHDATA2,)) + size.to_bytes(2, "little") + data
    return bytes((OP_PUSHDATA4,)) + size.to_bytes(4, "little") + data


def pushes(items: Iterable[bytes]) -> bytes:
    """One push after the other."""
    return b"".join(map(push, items))


def p2pkh(key_hash: bytes) -> bytes:
    """Pays whoever holds the key of this hash."""
    if len(key_hash) != 20:
        raise BadScript("a key hash has 20 bytes")
    return _P2PKH_HEAD + key_hash + _P2PKH_TAIL


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `pushed` is what it puts on the stack: data, or a number of OP_1 to OP_16 as a byte."""

    code: int
    pushed: bytes | None = None


def operations(script: bytes) -> Iterator[Op]:
    """The operations of a script, one by one. Raises BadScript where a push runs over its end."""
    at, end = 0, len(script)
    while at < end:
        code = script[at]
        at += 1
        if code > OP_PUSHDATA4:
            yield Op(code, bytes((code - OP_1 + 1,)) if OP_1 <= code <= OP_16 else None)
            continue
        size = code
        if code >= OP_PUSHDATA1:
            width = 1 << (code - OP_PUSHDATA1)
            size = int.from_bytes(script[at : at + width], "little")
            at += width
        if at + size > end:
            raise BadScript("a push runs over the end of the script")
        yield Op(code, script[at : at + size])
        at += size


def p2pkh_hash(ops: Sequence[Op]) -> bytes | None:
    """The key hash that these operations pay, if they are P2PKH and nothing else."""
    return ops[2].pushed if [op.code for op in ops] == _P2PKH_CODES else None
