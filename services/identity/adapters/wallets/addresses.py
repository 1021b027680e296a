"""Addresses: of which kind they are, of which network, and what they commit to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from bsv.base58 import base58check_decode

from services.identity.adapters.wallets import bech32
from services.identity.domain.failures import AddressInvalid
from services.identity.domain.users import Address

HASH_BYTES = 20
KEY_BYTES = 32
TEXT_MAX = 90
_IDENTITY_KEY = re.compile(r"0[23][0-9a-f]{64}", re.IGNORECASE | re.ASCII)


class Network(StrEnum):
    """Which chain addresses are of. Base58 addresses of TEST and REGTEST look alike."""

    MAIN = "main"
    TEST = "test"
    REGTEST = "regtest"


class Kind(StrEnum):
    """What an address commits to, and thereby how it proves itself."""

    P2PKH = "P2PKH"
    P2SH = "P2SH-P2WPKH"
    P2WPKH = "P2WPKH"
    P2TR = "P2TR"
    IDENTITY_KEY = "BRC-100 identity key"


@dataclass(frozen=True, slots=True)
class Destination:
    """An address taken apart. `commitment` is the hash (20 bytes), x-only key (32) or whole key (33).

    `text` is its one spelling: segwit addresses and keys in lower case.
    """

    kind: Kind
    commitment: bytes
    text: Address


_VERSIONS = {0x00: Kind.P2PKH, 0x6F: Kind.P2PKH, 0x05: Kind.P2SH, 0xC4: Kind.P2SH}
_MAIN_VERSIONS = {0x00, 0x05}
_PREFIXES = {"bc": Network.MAIN, "tb": Network.TEST, "bcrt": Network.REGTEST}
_PROGRAMS = {(0, HASH_BYTES): Kind.P2WPKH, (1, KEY_BYTES): Kind.P2TR}


def parsed(text: str, network: Network) -> Destination:
    """The address. Raises AddressInvalid when it is none, of another network, or of a kind that cannot sign.

    What is no address is not repeated in the refusal: people paste private keys.
    """
    if not text.isascii() or len(text) > TEXT_MAX:
        raise AddressInvalid("this is not an address", network=network)
    if _IDENTITY_KEY.fullmatch(text):
        key = text.lower()
        return Destination(Kind.IDENTITY_KEY, bytes.fromhex(key), Address(key))
    return _segwit(text, network) if text.lower().startswith(_SEGWIT) else _base58(text, network)


_SEGWIT = tuple(f"{prefix}1" for prefix in _PREFIXES)


def _segwit(text: str, network: Network) -> Destination:
    try:
        prefix, version, program = bech32.decoded(text)
    except ValueError as problem:
        raise AddressInvalid(f"this is not an address: {problem}", network=network) from problem
    if _PREFIXES[prefix] is not network:
        raise AddressInvalid(
            f"the address is of {_PREFIXES[prefix]}, not of {network}", address=text, network=network
        )
    kind = _PROGRAMS.get((version, len(program)))
    if kind is None:
        raise AddressInvalid(
            "addresses of scripts cannot prove themselves here", address=text, network=network
        )
    return Destination(kind, program, Address(text.lower()))


def _base58(text: str, network: Network) -> Destination:
    try:
        payload: bytes = base58check_decode(text)
    except (ValueError, IndexError) as problem:
        raise AddressInvalid("this is not an address: the checksum is wrong", network=network) from problem
    kind = _VERSIONS.get(payload[0]) if len(payload) == 1 + HASH_BYTES else None
    if kind is None:
        raise AddressInvalid("this is not an address of Bitcoin", network=network)
    if (payload[0] in _MAIN_VERSIONS) is not (network is Network.MAIN):
        raise AddressInvalid(f"the address is not of {network}", address=text, network=network)
    return Destination(kind, payload[1:], Address(text))
