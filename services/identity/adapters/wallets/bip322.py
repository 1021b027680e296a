"""BIP-322, simple: the witness by which an address would spend a coin that commits to the message.

For a single key: P2WPKH (BIP-143), the same inside P2SH, and P2TR by its key (BIP-341). Sighash ALL, and for
P2TR also DEFAULT, which means the same. https://github.com/bitcoin/bips/blob/master/bip-0322.mediawiki
"""

from __future__ import annotations

from services.identity.adapters.wallets import curve
from services.identity.adapters.wallets.addresses import Destination, Kind
from services.identity.adapters.wallets.curve import Malformed, hash256, sha256
from services.identity.adapters.wallets.encoding import compact_size, witness_stack

# What the final text of the BIP puts before a simple signature, and what it calls the forms not read here.
PREFIX = "smp"
OTHER_PREFIXES = ("ful", "pof")

_ALL = 1
_COMPRESSED_KEY_BYTES = 33
_ZERO_4 = bytes(4)
_ZERO_8 = bytes(8)
_OP_RETURN_OUTPUT = _ZERO_8 + b"\x01\x6a"


def check(owner: Destination, message: bytes, witness: bytes) -> bool:
    """Whether the owner of the address signed the message. Raises Malformed."""
    stack = witness_stack(witness)
    spent = to_spend(owner, message)
    return _check_taproot(owner, spent, stack) if owner.kind is Kind.P2TR else _check_key(owner, spent, stack)


def script_of(owner: Destination) -> bytes:
    """The locking script of an address."""
    match owner.kind:
        case Kind.P2SH:
            return b"\xa9\x14" + owner.commitment + b"\x87"
        case Kind.P2WPKH:
            return b"\x00\x14" + owner.commitment
        case Kind.P2TR:
            return b"\x51\x20" + owner.commitment
        case _:
            raise Malformed(f"a BIP-322 simple signature is not for a {owner.kind}")


def to_spend(owner: Destination, message: bytes) -> bytes:
    """The id (as inputs write it) of the transaction whose coin commits to the message."""
    script = script_of(owner)
    unlocking = b"\x00\x20" + curve.tagged_hash("BIP0322-signed-message", message)
    coin = bytes(32) + b"\xff" * 4 + compact_size(len(unlocking)) + unlocking + _ZERO_4
    output = _ZERO_8 + compact_size(len(script)) + script
    txid: bytes = hash256(_ZERO_4 + b"\x01" + coin + b"\x01" + output + _ZERO_4)
    return txid


def to_sign(spent: bytes) -> bytes:
    """The id (as inputs write it) of the transaction that spends that coin and is signed."""
    outpoint = spent + _ZERO_4
    txid: bytes = hash256(
        _ZERO_4 + b"\x01" + outpoint + b"\x00" + _ZERO_4 + b"\x01" + _OP_RETURN_OUTPUT + _ZERO_4
    )
    return txid


def _check_key(owner: Destination, spent: bytes, stack: list[bytes]) -> bool:
    if len(stack) != 2 or len(stack[1]) != _COMPRESSED_KEY_BYTES:
        raise Malformed("the witness must be a signature and a compressed key")
    signature, key = stack
    if signature[-1:] != bytes([_ALL]):
        raise Malformed("the signature must be of sighash ALL")
    key_hash: bytes = curve.hash160(key)
    program = b"\x00\x14" + key_hash
    if script_of(owner) not in (program, b"\xa9\x14" + curve.hash160(program) + b"\x87"):
        return False
    return curve.verify_ecdsa(signature[:-1], _sighash(spent, key_hash), key)


def _check_taproot(owner: Destination, spent: bytes, stack: list[bytes]) -> bool:
    if len(stack) != 1 or len(stack[0]) not in (curve.COMPACT_BYTES, curve.COMPACT_BYTES + 1):
        raise Malformed("the witness must be one signature by the address's key")
    signature, sighash_type = stack[0][: curve.COMPACT_BYTES], stack[0][curve.COMPACT_BYTES :]
    if sighash_type not in (b"", bytes([_ALL])):
        raise Malformed("the signature must be of sighash ALL or DEFAULT")
    digest = _taproot_sighash(spent, script_of(owner), sighash_type or b"\x00")
    return curve.verify_schnorr(signature, digest, owner.commitment)


def _sighash(spent: bytes, key_hash: bytes) -> bytes:
    outpoint = spent + _ZERO_4
    digest: bytes = hash256(
        _ZERO_4
        + hash256(outpoint)
        + hash256(_ZERO_4)
        + outpoint
        + (b"\x19\x76\xa9\x14" + key_hash + b"\x88\xac")
        + (_ZERO_8 + _ZERO_4)
        + hash256(_OP_RETURN_OUTPUT)
        + _ZERO_4
        + _ALL.to_bytes(4, "little")
    )
    return digest


def _taproot_sighash(spent: bytes, script: bytes, sighash_type: bytes) -> bytes:
    epoch, spend_type, input_index = b"\x00", b"\x00", _ZERO_4
    return curve.tagged_hash(
        "TapSighash",
        epoch
        + sighash_type
        + (_ZERO_4 + _ZERO_4)
        + sha256(spent + _ZERO_4)
        + sha256(_ZERO_8)
        + sha256(compact_size(len(script)) + script)
        + sha256(_ZERO_4)
        + sha256(_OP_RETURN_OUTPUT)
        + spend_type
        + input_index,
    )
