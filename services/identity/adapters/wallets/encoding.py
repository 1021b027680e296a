"""How transactions and signatures are written as bytes, read strictly: one value has one spelling."""

from __future__ import annotations

import base64
import binascii

from services.identity.adapters.wallets.curve import Malformed

_ONE_BYTE_MAX = 0xFC
_ITEMS_MAX = 8
_ITEM_BYTES_MAX = 80


def from_base64(text: str) -> bytes:
    """The bytes of canonical base64. Raises Malformed."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise Malformed("the signature is not base64") from problem
    if base64.b64encode(raw).decode() != text:
        raise Malformed("the signature is not base64 as it is written")
    return raw


def compact_size(number: int) -> bytes:
    """A length as transactions write it, up to 65,535."""
    return bytes([number]) if number <= _ONE_BYTE_MAX else b"\xfd" + number.to_bytes(2, "little")


def witness_stack(raw: bytes) -> list[bytes]:
    """The items of a witness of one input. Raises Malformed; no key needs more than a few short items."""
    if not raw or raw[0] > _ITEMS_MAX:
        raise Malformed("this is no witness of a single key")
    items, place = [], 1
    for _ in range(raw[0]):
        length = raw[place] if place < len(raw) else _ITEM_BYTES_MAX + 1
        place += 1 + length
        if length > _ITEM_BYTES_MAX or place > len(raw):
            raise Malformed("this is no witness of a single key")
        items.append(raw[place - length : place])
    if place != len(raw):
        raise Malformed("bytes follow the witness")
    return items
