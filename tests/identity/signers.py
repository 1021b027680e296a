"""Signing as wallets do it: one key, every kind of address, every scheme."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

from bsv.base58 import base58check_encode
from bsv.keys import PrivateKey
from bsv.native import NATIVE_MODULE

from services.identity.adapters.wallets import bech32, bip322, brc100, curve
from services.identity.adapters.wallets.addresses import Destination, Kind, Network, parsed
from services.identity.adapters.wallets.curve import ORDER

native: Any = NATIVE_MODULE
PREFIXES = {Network.MAIN: "bc", Network.TEST: "tb", Network.REGTEST: "bcrt"}
KEY_FORMS = [Kind.P2PKH, Kind.P2SH, Kind.P2WPKH, Kind.P2TR]


class Signer:
    """A wallet with one private key."""

    # Which kinds of address a scheme proves.
    SCHEMES: ClassVar[dict[str, list[Kind]]] = {
        "bsm 27": KEY_FORMS,
        "bsm 31": KEY_FORMS,
        "bsm 35": [Kind.P2SH],
        "bsm 39": [Kind.P2WPKH],
        "bip322": [Kind.P2SH, Kind.P2WPKH, Kind.P2TR],
        "brc100": [Kind.IDENTITY_KEY],
    }

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.private = PrivateKey(secret)

    def key(self, *, compressed: bool = True) -> bytes:
        """The public key."""
        key: bytes = native.pubkey_from_secret(self._secret, compressed)
        return key

    def address(self, kind: Kind, network: Network = Network.REGTEST, *, compressed: bool = True) -> str:
        """The key's address of a kind."""
        key_hash: bytes = curve.hash160(self.key(compressed=compressed))
        main = network is Network.MAIN
        match kind:
            case Kind.P2PKH:
                return str(base58check_encode((b"\x00" if main else b"\x6f") + key_hash))
            case Kind.P2SH:
                script_hash: bytes = curve.hash160(b"\x00\x14" + key_hash)
                return str(base58check_encode((b"\x05" if main else b"\xc4") + script_hash))
            case Kind.P2WPKH:
                return self.segwit(0, key_hash, network)
            case Kind.P2TR:
                return self.segwit(1, curve.taproot_output_key(self.key()), network)
            case Kind.IDENTITY_KEY:
                return self.key().hex()

    @staticmethod
    def segwit(version: int, program: bytes, network: Network = Network.REGTEST) -> str:
        """The address of a witness program."""
        return bech32.encoded(PREFIXES[network], version, program)

    def sign(self, scheme: str, kind: Kind, message: str) -> str:
        """A signature by a scheme for the key's address of a kind."""
        name, _, header = scheme.partition(" ")
        if name == "bsm":
            return self._signed_message(message, int(header))
        if name == "brc100":
            return self.brc100(message)
        items = self.witness(kind, message)
        return base64_of(bytes([len(items)]) + b"".join(bytes([len(item)]) + item for item in items))

    def _signed_message(self, message: str, first_header: int) -> str:
        raw = message.encode()
        size = bytes([len(raw)]) if len(raw) < 0xFD else b"\xfd" + len(raw).to_bytes(2, "little")
        digest = curve.hash256(b"\x18Bitcoin Signed Message:\n" + size + raw)
        signed: bytes = native.ecdsa_sign_recoverable(digest, self._secret)
        return base64_of(bytes([first_header + signed[64]]) + signed[:64])

    def brc100(
        self,
        message: str,
        *,
        level: int = brc100.SECURITY_LEVEL,
        protocol: str = brc100.PROTOCOL,
        key_id: str = brc100.KEY_ID,
    ) -> str:
        """What createSignature makes, by bsv-sdk's own derivation for everyone's private key, 1."""
        child = self.private.derive_child(PrivateKey(1).public_key(), f"{level}-{protocol}-{key_id}")
        return base64_of(child.sign(curve.sha256(message.encode()), hasher=lambda digest: digest))

    def witness(self, kind: Kind, message: str, *, sighash_type: bytes = b"") -> list[bytes]:
        """The items of a BIP-322 simple signature."""
        owner: Destination = parsed(self.address(kind), Network.REGTEST)
        spent = bip322.to_spend(owner, message.encode())
        if kind is not Kind.P2TR:
            digest = bip322._sighash(spent, curve.hash160(self.key()))
            return [native.ecdsa_sign(digest, self._secret) + b"\x01", self.key()]
        digest = bip322._taproot_sighash(spent, bip322.script_of(owner), sighash_type or b"\x00")
        return [self._schnorr(digest) + sighash_type]

    def _schnorr(self, digest: bytes) -> bytes:
        """BIP-340 with the output key's secret; the nonce is only good enough for tests."""
        secret = int.from_bytes(self._secret, "big")
        if self.key()[0] == 3:
            secret = ORDER - secret
        secret = (secret + int.from_bytes(curve.tagged_hash("TapTweak", self.key()[1:]), "big")) % ORDER
        secret, x_only = _even(secret)
        nonce, r = _even(int.from_bytes(curve.sha256(digest + self._secret), "big") % ORDER)
        challenge = int.from_bytes(curve.tagged_hash("BIP0340/challenge", r + x_only + digest), "big")
        return r + ((nonce + challenge * secret) % ORDER).to_bytes(32, "big")


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _even(secret: int) -> tuple[int, bytes]:
    """The secret whose point has an even y, and that point's x."""
    point: bytes = native.pubkey_from_secret(secret.to_bytes(32, "big"), True)
    return (secret if point[0] == 2 else ORDER - secret), point[1:]
