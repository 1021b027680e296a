"""Scripts: payments to key hashes, 1Sat inscriptions with MAP, data records with B, MAP and AIP.

Formats: 1Sat ordinals (BitcoinSchema/1sat-ordinals), MAP (rohenaz/MAP), B (unwriter/B), AIP
(BitcoinFiles/AUTHOR_IDENTITY_PROTOCOL). What is built here is parsed back here; inscriptions are read with
the envelope before or behind the P2PKH part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

OP_0, OP_PUSHDATA1, OP_PUSHDATA2, OP_PUSHDATA4, OP_1, OP_16 = 0x00, 0x4C, 0x4D, 0x4E, 0x51, 0x60
OP_IF, OP_ENDIF, OP_RETURN, OP_DUP, OP_EQUALVERIFY = 0x63, 0x68, 0x6A, 0x76, 0x88
OP_HASH160, OP_CHECKSIG = 0xA9, 0xAC

MAP_PREFIX = b"1PuQa7K62MiKCtssSLKy1kh56WWU7MtUR5"
B_PREFIX = b"19HxigV4QyBv3tHpQVcUEQyq1pzZVdoAut"
AIP_PREFIX = b"15PciHG22SNLQJXMoSUaWVi7WSqc7hCfva"
AIP_ALGORITHM = b"BITCOIN_ECDSA"
PIPE = b"|"
SCRIPT_BYTES_MAX = 500_000
"""Scripts above are refused by nodes with default policy."""

_P2PKH_HEAD, _P2PKH_TAIL = bytes((OP_DUP, OP_HASH160, 20)), bytes((OP_EQUALVERIFY, OP_CHECKSIG))
P2PKH_BYTES = 25


class BadScript(ValueError):  # noqa: N818 - an answer, as failures are
    """The bytes are no script, or not one of the kind asked for."""


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


def key_hash_paid(script: bytes) -> bytes | None:
    """The key hash that a plain P2PKH script, or an inscription in either order, pays; None for others."""
    if len(script) == P2PKH_BYTES and _is_p2pkh(script):
        return script[3:23]
    found = read_inscription(script)
    return found.key_hash if found else None


def _is_p2pkh(script: bytes) -> bool:
    return script.startswith(_P2PKH_HEAD) and script[23:25] == _P2PKH_TAIL


@dataclass(frozen=True, slots=True)
class Op:
    """One operation: its code, and the data when it is a push."""

    code: int
    data: bytes | None = None


def parse(script: bytes) -> list[Op]:
    """The operations of a script. Raises BadScript when a push runs over its end."""
    ops: list[Op] = []
    at, end = 0, len(script)
    while at < end:
        code = script[at]
        at += 1
        if code > OP_PUSHDATA4:
            ops.append(Op(code))
            continue
        size = code
        if code >= OP_PUSHDATA1:
            width = 1 << (code - OP_PUSHDATA1)
            size = int.from_bytes(script[at : at + width], "little")
            at += width
        if at + size > end:
            raise BadScript("a push runs over the end of the script")
        ops.append(Op(code, script[at : at + size]))
        at += size
    return ops


@dataclass(frozen=True, slots=True)
class Inscription:
    """A 1Sat ordinal's content, its holder, and what MAP says about it."""

    key_hash: bytes
    mime: str
    data: bytes
    map: Mapping[str, str] = field(default_factory=dict)


def inscription(key_hash: bytes, mime: str, data: bytes, fields: Mapping[str, str]) -> bytes:
    """The script of a 1-sat output that carries the data, is held by the key, and is described by MAP."""
    envelope = b"".join(
        (
            bytes((OP_0, OP_IF)),
            push(b"ord"),
            bytes((OP_1,)),
            push(mime.encode()),
            bytes((OP_0,)),
            push(data),
            bytes((OP_ENDIF,)),
        )
    )
    described = bytes((OP_RETURN,)) + pushes(map_set(fields)) if fields else b""
    return envelope + p2pkh(key_hash) + described


def map_set(fields: Mapping[str, str]) -> list[bytes]:
    """The pushes of MAP SET."""
    return [MAP_PREFIX, b"SET", *(part.encode() for part in chain.from_iterable(fields.items()))]


def read_inscription(script: bytes) -> Inscription | None:
    """The inscription in a script, envelope first or P2PKH first; None when there is none."""
    if b"\x03ord" not in script:
        return None
    try:
        ops = parse(script)
    except BadScript:
        return None
    start = next((i for i, (a, b) in enumerate(pairwise(ops)) if a.code == OP_0 and b.code == OP_IF), None)
    if start is None:
        return None
    end = next((i for i in range(start, len(ops)) if ops[i].code == OP_ENDIF), None)
    if end is None or end - start < 3 or ops[start + 2].data != b"ord":
        return None
    holder = _holder(ops[:start]) or _holder(ops[end + 1 : end + 6])
    mime, data = _content(ops[start + 3 : end])
    if holder is None or data is None:
        return None
    return Inscription(holder, mime, data, _map_fields(ops[end + 1 :]))


def _holder(ops: Sequence[Op]) -> bytes | None:
    codes = [op.code for op in ops[:5]]
    if codes == [OP_DUP, OP_HASH160, 20, OP_EQUALVERIFY, OP_CHECKSIG]:
        return ops[2].data
    return None


def _content(ops: Sequence[Op]) -> tuple[str, bytes | None]:
    mime, at = "", 0
    while at + 1 < len(ops):
        if ops[at].code == OP_0:
            return mime, ops[at + 1].data
        if ops[at].code == OP_1 or ops[at].data == b"\x01":
            mime = (ops[at + 1].data or b"").decode(errors="replace")
        at += 2
    return mime, None


def _map_fields(ops: Sequence[Op]) -> dict[str, str]:
    data = [op.data for op in ops if op.data is not None]
    if MAP_PREFIX not in data:
        return {}
    at = data.index(MAP_PREFIX)
    if data[at + 1 : at + 2] != [b"SET"]:
        return {}
    pairs = data[at + 2 :]
    stop = pairs.index(PIPE) if PIPE in pairs else len(pairs)
    texts = [item.decode(errors="replace") for item in pairs[:stop]]
    return dict(zip(texts[::2], texts[1::2], strict=False))


@dataclass(frozen=True, slots=True)
class DataRecord:
    """A data output as read back. `signed` is what the signature is over."""

    data: bytes
    mime: str
    map: Mapping[str, str]
    address: str
    signature: str
    signed: bytes


def record_fields(data: bytes, mime: str, filename: str, fields: Mapping[str, str]) -> list[bytes]:
    """The pushes of a record before its signature: B, then MAP."""
    return [B_PREFIX, data, mime.encode(), b"UTF-8", filename.encode(), PIPE, *map_set(fields), PIPE]


def signed_message(fields: Sequence[bytes]) -> bytes:
    """What AIP signs: OP_RETURN and every push before its prefix, the last pipe included."""
    return bytes((OP_RETURN,)) + b"".join(fields)


def data_record(fields: Sequence[bytes], address: str, signature: str) -> bytes:
    """The script of a data output: nobody can spend it, anybody can check who wrote it."""
    aip = [AIP_PREFIX, AIP_ALGORITHM, address.encode(), signature.encode()]
    return bytes((OP_0, OP_RETURN)) + pushes([*fields, *aip])


def read_data_record(script: bytes) -> DataRecord:
    """Reads a data output as `data_record` makes it. Raises BadScript."""
    ops = parse(script)
    if [op.code for op in ops[:2]] != [OP_0, OP_RETURN]:
        raise BadScript("not an OP_FALSE OP_RETURN output")
    data = [op.data if op.data is not None else b"" for op in ops[2:]]
    if data[:1] != [B_PREFIX] or AIP_PREFIX not in data or len(data) < 10:
        raise BadScript("not a B record signed by AIP")
    at = data.index(AIP_PREFIX)
    if data[at + 1 : at + 2] != [AIP_ALGORITHM] or len(data) < at + 4:
        raise BadScript("not signed with BITCOIN_ECDSA")
    return DataRecord(
        data=data[1],
        mime=data[2].decode(),
        map=_map_fields(ops[2:]),
        address=data[at + 2].decode(),
        signature=data[at + 3].decode(),
        signed=signed_message(data[:at]),
    )
