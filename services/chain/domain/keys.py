"""Keys: one master seed, BIP-32 below it. Nothing here shows a key in repr, str or an exception.

m/44'/<coin>'/0'/0/<n>  deposits of the user with key index n
m/44'/<coin>'/1'/0/<n>  titles held for that user
m/44'/<coin>'/2'/0/0    the wallet's own change        m/44'/<coin>'/2'/1/0  the operator's float address
m/44'/<coin>'/2'/2/0    what comes back from the cold address
m/44'/<coin>'/3'/0/0    signs records
<coin> is 236 on the main network, 1 on others.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from bsv.compat import bsm
from bsv.hd.bip32 import Xprv, ckd
from bsv.keys import PrivateKey, PublicKey, recover_public_key

from services.chain.domain.addresses import address_of, hash160
from services.chain.domain.scripts import p2pkh
from services.chain.domain.values import Network

SEED_BYTES = 64
CACHED_KEYS_MAX = 10_000
# A signed message: a header (uncompressed keys 27..30, compressed ones 31..34), r, s.
SIGNATURE_BYTES, _HEADER_MIN, _HEADER_MAX = 65, 27, 34


class BadSignature(ValueError):  # noqa: N818 - an answer, as failures are
    """The signature is none, or not the one asked for; the message says why."""


class KeyUse(StrEnum):
    """What a key is for."""

    DEPOSIT = "deposit"
    TITLE = "title"
    CHANGE = "change"
    FLOAT = "float"
    REFILL = "refill"
    RECORD = "record"


_BRANCHES = {
    KeyUse.DEPOSIT: "0'/0",
    KeyUse.TITLE: "1'/0",
    KeyUse.CHANGE: "2'/0",
    KeyUse.FLOAT: "2'/1",
    KeyUse.REFILL: "2'/2",
    KeyUse.RECORD: "3'/0",
}


@dataclass(frozen=True, slots=True)
class KeyPath:
    """Which key: it is public, the key is not."""

    use: KeyUse
    index: int

    def __str__(self) -> str:
        return f"{self.use}/{self.index}"

    @classmethod
    def parse(cls, text: str) -> KeyPath:
        """The path that this text names."""
        use, _, index = text.partition("/")
        return cls(KeyUse(use), int(index))


CHANGE = KeyPath(KeyUse.CHANGE, 0)
FLOAT = KeyPath(KeyUse.FLOAT, 0)
REFILL = KeyPath(KeyUse.REFILL, 0)
RECORD = KeyPath(KeyUse.RECORD, 0)


class SigningKey:
    """One private key: it signs, and shows only its public half."""

    __slots__ = ("_key", "key_hash", "public_key", "script")

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public_key: bytes = key.public_key().serialize()
        self.key_hash = hash160(self.public_key)
        self.script = p2pkh(self.key_hash)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_hash.hex()})"

    def sign_digest(self, digest: bytes) -> bytes:
        """DER signature (low s, RFC 6979) over a 32-byte digest."""
        return self._key.sign(digest, hasher=None)

    def sign_message(self, message: bytes) -> bytes:
        """Bitcoin Signed Message: its 65 bytes, which wallets show as base64."""
        return base64.b64decode(bsm.sign(message, self._key))

    def address(self, network: Network) -> str:
        """Its P2PKH address."""
        return address_of(self.key_hash, network)


class KeyRing:
    """All keys of the service, derived from one seed of 64 bytes. `fingerprint`: BIP-32's, of the master."""

    def __init__(self, seed: bytes, network: Network) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a key seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.network = network
        coin = "236'" if network is Network.MAIN else "1'"
        master = Xprv.from_seed(seed)
        self.fingerprint = hash160(master.private_key().public_key().serialize())[:4].hex()
        self._branches: dict[KeyUse, Xprv] = {}
        for use, branch in _BRANCHES.items():
            derived = ckd(master, f"m/44'/{coin}/{branch}")
            if not isinstance(derived, Xprv):
                raise TypeError("derivation lost the private half")
            self._branches[use] = derived
        self._cached = lru_cache(CACHED_KEYS_MAX)(self._derived)

    def __repr__(self) -> str:
        return f"KeyRing({self.network})"

    def key(self, path: KeyPath) -> SigningKey:
        """The key at a path; the last CACHED_KEYS_MAX used are kept."""
        return self._cached(path)

    def _derived(self, path: KeyPath) -> SigningKey:
        return SigningKey(self._branches[path.use].ckd(path.index).private_key())

    def address(self, path: KeyPath) -> str:
        """The P2PKH address at a path."""
        return self.key(path).address(self.network)


def signer_of(message: bytes, signature: bytes) -> bytes:
    """The hash of the key that made this Bitcoin Signed Message of 65 bytes. Raises BadSignature.

    A signature over another message has another signer: it is for the caller to compare.
    """
    if len(signature) != SIGNATURE_BYTES or not _HEADER_MIN <= signature[0] <= _HEADER_MAX:
        raise BadSignature("not a Bitcoin Signed Message: it has not 65 bytes, or an unknown header")
    compressed, recovery = divmod(signature[0] - _HEADER_MIN, 4)
    try:
        key: PublicKey = recover_public_key(
            signature[1:] + bytes((recovery,)), bsm.magic_hash(message), hasher=None
        )
    except ValueError as problem:
        raise BadSignature("no key can have made this signature") from problem
    return hash160(key.serialize(bool(compressed)))
