"""secp256k1 and the hashes around it, on libsecp256k1 as bsv-sdk brings it. All inputs may be hostile.

Functions answer with a key or a bool, or raise Malformed; nothing else escapes, whatever the bytes are.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache
from typing import Any

from bsv.hash import hash160, hash256
from bsv.native import NATIVE_MODULE

__all__ = [
    "Malformed",
    "hash160",
    "hash256",
    "offset_key",
    "recovered_key",
    "require_native",
    "sha256",
    "tagged_hash",
    "taproot_output_key",
    "verify_ecdsa",
    "verify_schnorr",
]

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
SCALAR_BYTES = 32
COMPACT_BYTES = 64
DER_BYTES_MAX = 72

_native: Any = NATIVE_MODULE
# What the extension raises on points and scalars that are none.
_REFUSED = (ValueError, RuntimeError)


class Malformed(Exception):  # noqa: N818 - not a fault of ours
    """A signature or key breaks a rule of its encoding; the text says which."""


def require_native() -> None:
    """Raises RuntimeError when bsv-sdk came without its extension: in pure Python a log-in takes 200 times
    as long, and that on the path of strangers.
    """
    if _native is None:
        raise RuntimeError("bsv-sdk lacks its native part: install its binary wheel")


def recovered_key(compact: bytes, recovery_id: int, digest: bytes, *, compressed: bool = True) -> bytes:
    """The key that signed `digest` (SEC 1, 4.1.6). `compact` is r and s, 32 bytes each."""
    _check_scalars(compact)
    try:
        key: bytes = _native.ecdsa_recover(compact + bytes([recovery_id]), digest, compressed)
    except _REFUSED as problem:
        raise Malformed("no key could have made this signature") from problem
    return key


def verify_ecdsa(der: bytes, digest: bytes, key: bytes) -> bool:
    """Whether the key signed `digest`; the signature is strict DER (BIP-66) with a low s (BIP-146)."""
    _check_scalars(_compact_of(der))
    try:
        return bool(_native.ecdsa_verify(der, digest, key))
    except _REFUSED as problem:
        raise Malformed("the public key is no point of the curve") from problem


def verify_schnorr(signature: bytes, digest: bytes, x_only: bytes) -> bool:
    """Whether the key signed `digest`, by BIP-340: s·G − e·P is a point with an even y and x = r."""
    r, s = signature[:SCALAR_BYTES], signature[SCALAR_BYTES:]
    challenge = tagged_hash("BIP0340/challenge", r + x_only + digest)
    minus_e = (-int.from_bytes(challenge, "big") % ORDER).to_bytes(SCALAR_BYTES, "big")
    if len(signature) != COMPACT_BYTES or int.from_bytes(s, "big") >= ORDER:
        raise Malformed("s is not below the order of the curve")
    try:
        point: bytes = _native.pubkey_tweak_add(_native.pubkey_tweak_mul(b"\x02" + x_only, minus_e), s)
    except _REFUSED as problem:
        raise Malformed("no key could have made this signature") from problem
    return point == b"\x02" + r


def taproot_output_key(internal_key: bytes) -> bytes:
    """The x-only key that a key is paid by when there is no script (BIP-341, BIP-86)."""
    x_only = internal_key[1:]
    return offset_key(b"\x02" + x_only, tagged_hash("TapTweak", x_only))[1:]


def offset_key(key: bytes, scalar: bytes) -> bytes:
    """The key plus `scalar`·G, compressed."""
    try:
        moved: bytes = _native.pubkey_tweak_add(key, scalar)
    except _REFUSED as problem:
        raise Malformed("the public key is no point of the curve") from problem
    return moved


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC with SHA-256."""
    return hmac.digest(key, data, "sha256")


def tagged_hash(tag: str, data: bytes) -> bytes:
    """The tagged hash of BIP-340."""
    return sha256(_tag_prefix(tag) + data)


@cache
def _tag_prefix(tag: str) -> bytes:
    return sha256(tag.encode()) * 2


def _check_scalars(compact: bytes) -> None:
    r = int.from_bytes(compact[:SCALAR_BYTES], "big")
    s = int.from_bytes(compact[SCALAR_BYTES:], "big")
    if not (0 < r < ORDER and 0 < s < ORDER):
        raise Malformed("r and s are not between 0 and the order of the curve")
    if s > ORDER // 2:
        raise Malformed("s is high: wallets give the lower of the two")


def _compact_of(der: bytes) -> bytes:
    """r and s of a strict DER signature: whatever does not encode back to the same bytes is refused."""
    r, rest = _integer(der[2:])
    s, rest = _integer(rest)
    body = _der_integer(r) + _der_integer(s)
    if rest or len(der) > DER_BYTES_MAX or der != bytes([0x30, len(body)]) + body:
        raise Malformed("the signature is not strict DER")
    return r.rjust(SCALAR_BYTES, b"\0") + s.rjust(SCALAR_BYTES, b"\0")


def _integer(der: bytes) -> tuple[bytes, bytes]:
    """The magnitude of the first integer, and what follows it."""
    length = der[1] if len(der) > 1 else 0
    magnitude = der[2 : 2 + length].lstrip(b"\0")
    if len(magnitude) > SCALAR_BYTES:
        raise Malformed("the signature is not strict DER")
    return magnitude, der[2 + length :]


def _der_integer(magnitude: bytes) -> bytes:
    padded = b"\0" + magnitude if not magnitude or magnitude[0] & 0x80 else magnitude
    return bytes([0x02, len(padded)]) + padded
