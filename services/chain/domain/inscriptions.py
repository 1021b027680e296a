"""1Sat ordinals: what an output of one satoshi carries, who holds it, what MAP says about it.

Source: BitcoinSchema/1sat-ordinals. An envelope `OP_FALSE OP_IF "ord" … OP_ENDIF` stands before or behind
the P2PKH part; fields are a number and a push, field 1 is the content's type; OP_0 begins the content.
Behind OP_RETURN is MAP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from services.chain.domain.bitcom import map_fields, pushed, read_map
from services.chain.domain.scripts import (
    OP_0,
    OP_1,
    OP_CODESEPARATOR,
    OP_ENDIF,
    OP_IF,
    OP_RETURN,
    BadScript,
    Op,
    operations,
    p2pkh,
    p2pkh_hash,
    push,
    pushes,
)

MARK = b"ord"
MIME_FIELD = b"\x01"
MIME_BYTES_MAX = 255


@dataclass(frozen=True, slots=True)
class Inscription:
    """The content of an ordinal, its type, and what MAP says about it.

    `key_hash` is whose key can spend it; None when something else than P2PKH locks it.
    """

    key_hash: bytes | None
    mime: str
    data: bytes
    map: Mapping[str, str] = field(default_factory=dict)


def inscription(key_hash: bytes, mime: str, data: bytes, about: Mapping[str, str]) -> bytes:
    """The script of a 1-sat output that carries the data, is held by the key, and is described by MAP."""
    opening = bytes((OP_0, OP_IF)) + push(MARK)
    envelope = (
        opening + bytes((OP_1,)) + push(mime.encode()) + bytes((OP_0,)) + push(data) + bytes((OP_ENDIF,))
    )
    described = bytes((OP_RETURN,)) + pushes(map_fields(about)) if about else b""
    return envelope + p2pkh(key_hash) + described


def key_hash_paid(script: bytes) -> bytes | None:
    """The key hash that a plain P2PKH script, or an inscription either way round, pays; None for others."""
    try:
        ops = list(operations(script))
        return p2pkh_hash(ops) or read_inscription(script).key_hash
    except BadScript:
        return None


def read_inscription(script: bytes) -> Inscription:
    """The first inscription in a script. Raises BadScript, which says why there is none."""
    if MARK not in script:
        raise BadScript("no inscription: nothing says ord")
    rest = operations(script)
    # What stands behind OP_RETURN is never run: it need not be a script.
    ops = list(takewhile(lambda op: op.code != OP_RETURN, rest))
    start = _start(ops)
    mime, data, size = _envelope(ops[start:])
    lock = [op for op in (*ops[:start], *ops[start + size :]) if op.code != OP_CODESEPARATOR]
    return Inscription(p2pkh_hash(lock), mime, data, _about(rest))


def _start(ops: list[Op]) -> int:
    for at in range(len(ops) - 2):
        if ops[at].pushed == b"" and ops[at + 1].code == OP_IF and ops[at + 2].pushed == MARK:
            return at
    raise BadScript("no inscription: no OP_FALSE OP_IF ord before OP_RETURN")


def _envelope(ops: list[Op]) -> tuple[str, bytes, int]:
    """Type, content, and how many operations the envelope at the beginning has."""
    size = next((at for at, op in enumerate(ops, 1) if op.code == OP_ENDIF), None)
    if size is None:
        raise BadScript("the envelope of the inscription has no end")
    fields = pushed(ops[2 : size - 1])
    if len(fields) < size - 3:
        raise BadScript("an operation that is no push stands in the envelope of the inscription")
    mime: bytes | None = None
    at = 1
    while at < len(fields):
        if fields[at] == b"":
            return _mime(mime), b"".join(fields[at + 1 :]), size
        if fields[at] == MIME_FIELD and mime is None and at + 1 < len(fields):
            mime = fields[at + 1]
        at += 2
    raise BadScript("the envelope of the inscription has no content")


def _mime(data: bytes | None) -> str:
    if data is None:
        return ""
    try:
        found = data.decode()
    except UnicodeDecodeError as problem:
        raise BadScript("the type of the inscription is not UTF-8") from problem
    if len(data) > MIME_BYTES_MAX:
        raise BadScript(f"the type of the inscription has more than {MIME_BYTES_MAX} bytes")
    return found


def _about(rest: Iterator[Op]) -> dict[str, str]:
    """What MAP says behind OP_RETURN; {} when that cannot be read."""
    try:
        return read_map(pushed(rest))
    except BadScript:
        return {}
