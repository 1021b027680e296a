"""Addresses: P2PKH of the network in use, and no other."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from bsv.base58 import base58check_decode, base58check_encode

from services.chain.domain.failures import AddressInvalid
from services.chain.domain.values import Network

_VERSIONS = {Network.MAIN: 0x00, Network.TEST: 0x6F, Network.REGTEST: 0x6F}
_KEY_HASH_BYTES = 20
CACHED_ADDRESSES_MAX = 10_000


def address_of(key_hash: bytes, network: Network) -> str:
    """The P2PKH address of a key hash."""
    return base58check_encode(bytes((_VERSIONS[network],)) + key_hash)


@lru_cache(CACHED_ADDRESSES_MAX)
def key_hash_of(address: str, network: Network) -> bytes:
    """The key hash of a P2PKH address of this network. Raises AddressInvalid.

    Reading one takes as long as a tenth of a payment, and round after round pays the same people.
    """
    try:
        payload = bytes(base58check_decode(address))
    except (ValueError, IndexError, KeyError) as problem:
        raise AddressInvalid("the address is malformed", address=address) from problem
    if len(payload) != 1 + _KEY_HASH_BYTES:
        raise AddressInvalid("the address is malformed", address=address)
    if payload[0] != _VERSIONS[network]:
        raise AddressInvalid(
            f"the address is not a pay-to-public-key-hash address of the {network} network", address=address
        )
    return payload[1:]


def hash160(data: bytes) -> bytes:
    """RIPEMD-160 of SHA-256."""
    return hashlib.new("ripemd160", hashlib.sha256(data).digest()).digest()
