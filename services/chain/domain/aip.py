"""AIP, the author identity protocol: who signed the fields of a data output.

Source: BitcoinFiles/AUTHOR_IDENTITY_PROTOCOL, and transactions of the main chain in tests/vectors/aip.json.
`<prefix> <algorithm> <address> <signature> [index …]` signs the byte of OP_RETURN and every field before the
prefix, the last pipe included; with indexes only those fields, OP_RETURN being number 0. The signature is
a Bitcoin Signed Message, written as its 65 bytes; what is written as base64 is read, too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from services.chain.domain.addresses import key_hash_of
from services.chain.domain.bitcom import PIPE
from services.chain.domain.failures import AddressInvalid
from services.chain.domain.keys import SIGNATURE_BYTES, BadSignature, signer_of
from services.chain.domain.scripts import OP_RETURN, BadScript
from services.chain.domain.values import Network

AIP_PREFIX = b"15PciHG22SNLQJXMoSUaWVi7WSqc7hCfva"
ALGORITHM = b"BITCOIN_ECDSA"


@dataclass(frozen=True, slots=True)
class Authored:
    """A signature as it stands in the output, not verified yet. `signed` is what it is over.

    `whole` says whether that is everything before it.
    """

    algorithm: str
    address: str
    signature: bytes
    signed: bytes
    whole: bool


def signed_message(fields: Sequence[bytes]) -> bytes:
    """What is signed of an output with these fields, the last of them a pipe."""
    return bytes((OP_RETURN,)) + b"".join(fields)


def aip_fields(address: str, signature: bytes) -> list[bytes]:
    """The fields of a signature over everything before it."""
    return [AIP_PREFIX, ALGORITHM, address.encode(), signature]


def read_aip(fields: Sequence[bytes]) -> list[Authored]:
    """The signatures among the fields, each at the beginning or behind a pipe. Raises BadScript."""
    places = [
        at for at, one in enumerate(fields) if one == AIP_PREFIX and (at == 0 or fields[at - 1] == PIPE)
    ]
    return [_read(fields, at) for at in places]


def _read(fields: Sequence[bytes], at: int) -> Authored:
    own = list(fields[at + 1 :])
    if PIPE in own:
        own = own[: own.index(PIPE)]
    if len(own) < 3:
        raise BadScript("the AIP signature is cut off")
    parts = (bytes((OP_RETURN,)), *fields[:at])
    indexes = [int.from_bytes(index, "big") for index in own[3:]]
    if any(index >= len(parts) for index in indexes):
        raise BadScript("the AIP signature names a field that is not before it")
    return Authored(
        algorithm=own[0].decode(errors="replace"),
        address=own[1].decode(errors="replace"),
        signature=_signature(own[2]),
        signed=b"".join(parts[index] for index in indexes or range(len(parts))),
        whole=not indexes or indexes == list(range(len(parts))),
    )


def _signature(data: bytes) -> bytes:
    if len(data) == SIGNATURE_BYTES:
        return data
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise BadScript("the AIP signature is neither 65 bytes nor base64") from problem


def verify(authored: Authored, network: Network) -> None:
    """Whether the owner of the address signed. Raises BadSignature, which says what is wrong."""
    if authored.algorithm != ALGORITHM.decode():
        raise BadSignature(f"algorithm {authored.algorithm!r:.40} instead of {ALGORITHM.decode()}")
    try:
        claimed = key_hash_of(authored.address, network)
    except AddressInvalid as problem:
        raise BadSignature(f"{authored.address!r:.60} is no P2PKH address of this network") from problem
    if signer_of(authored.signed, authored.signature) != claimed:
        raise BadSignature(f"not signed by {authored.address}, or what it signed was changed")
