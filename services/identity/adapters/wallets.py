"""Addresses and signatures of Bitcoin wallets, by bsv-sdk.

One scheme per kind of address. A scheme says which addresses are its own, and checks signatures for them;
another kind of wallet is another entry of `SCHEMES`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bsv.base58 import base58check_decode
from bsv.compat import bsm
from bsv.keys import recover_public_key
from bsv.native import NATIVE_AVAILABLE

from mesh import logs
from services.identity.domain.failures import AddressInvalid
from services.identity.domain.users import Address

log = logs.logger(__name__)

_ADDRESS_CHARACTERS_MAX = 90
_HASH_BYTES = 20
_SIGNATURE_BYTES = 65
# First byte of a Bitcoin Signed Message by a P2PKH address: 27 + recovery id, + 4 when its key is compressed.
_HEADERS = range(27, 35)


class Network(StrEnum):
    """Which chain addresses are of. Addresses of TEST and REGTEST look alike."""

    MAIN = "main"
    TEST = "test"
    REGTEST = "regtest"


_P2PKH_VERSION = {Network.MAIN: 0x00, Network.TEST: 0x6F, Network.REGTEST: 0x6F}


class Scheme(Protocol):
    """How one kind of address proves itself. Called in a thread."""

    def owns(self, address: str, network: Network) -> bool:
        """Whether this is a well-formed address of this kind and network."""
        ...

    def verify(self, address: str, message: str, signature: str) -> bool:
        """Whether the address signed the message. Never raises on bad input."""
        ...


@dataclass(frozen=True, slots=True)
class _KeyHash:
    version: int
    hash: bytes


class SignedMessage:
    """Bitcoin Signed Message by a P2PKH address."""

    def owns(self, address: str, network: Network) -> bool:
        """Whether this is a P2PKH address of the network."""
        found = _key_hash(address)
        return found is not None and found.version == _P2PKH_VERSION[network]

    def verify(self, address: str, message: str, signature: str) -> bool:
        """Recovers the key that signed, and compares its hash with the address."""
        owner, raw = _key_hash(address), _signature_bytes(signature)
        if owner is None or raw is None:
            return False
        recovery_id = (raw[0] - _HEADERS.start) % 4
        signed = bsm.magic_hash(message.encode())
        try:
            key = recover_public_key(raw[1:] + bytes([recovery_id]), signed, hasher=None)
            # Some wallets say "uncompressed" of a key whose address is made of its compressed form.
            hashes = {key.hash160(compressed=True), key.hash160(compressed=False)}
            return owner.hash in hashes and bool(bsm.verify(message.encode(), signature, key))
        except Exception:
            log.debug("signature without a key")
            return False


SCHEMES: Sequence[Scheme] = (SignedMessage(),)


class BitcoinWallets:
    """`Wallets` of one network."""

    def __init__(self, network: Network, schemes: Sequence[Scheme] = SCHEMES) -> None:
        if not NATIVE_AVAILABLE:
            log.warning("bsv-sdk runs without its native part: signatures take 200 times longer")
        self._network = network
        self._schemes = schemes

    def checked_address(self, text: str) -> Address:
        """The address if one of the schemes can prove it."""
        self._scheme(text)
        return Address(text)

    async def verify(self, *, address: Address, message: str, signature: str) -> bool:
        """Whether the signature is the address owner's; worked out beside the event loop."""
        return await asyncio.to_thread(self._scheme(address).verify, address, message, signature)

    def _scheme(self, address: str) -> Scheme:
        for scheme in self._schemes:
            if scheme.owns(address, self._network):
                return scheme
        raise AddressInvalid(address=address, network=self._network)


def _key_hash(address: str) -> _KeyHash | None:
    if len(address) > _ADDRESS_CHARACTERS_MAX:
        return None
    try:
        payload: bytes = base58check_decode(address)
    except ValueError:
        return None
    return _KeyHash(payload[0], payload[1:]) if len(payload) == 1 + _HASH_BYTES else None


def _signature_bytes(signature: str) -> bytes | None:
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == _SIGNATURE_BYTES and raw[0] in _HEADERS else None
