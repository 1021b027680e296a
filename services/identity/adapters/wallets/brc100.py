"""BRC-100: what a wallet's `createSignature` makes for counterparty "anyone".

The wallet signs SHA-256 of the text with a key that BRC-42 derives from its identity key for the private key
1, which is everyone's, and the BRC-43 invoice number of PROTOCOL and KEY_ID; so anyone can derive the public
key. https://github.com/bitcoin-sv/BRCs: key-derivation/0042 and 0043, wallet/0100.
"""

from __future__ import annotations

from services.identity.adapters.wallets import curve
from services.identity.adapters.wallets.addresses import Destination

SECURITY_LEVEL = 2
PROTOCOL = "satreel wallet proof"
KEY_ID = "1"


def check(owner: Destination, message: bytes, der: bytes) -> bool:
    """Whether the wallet of the identity key signed the message for Satreel. Raises Malformed."""
    # The secret that it shares with the private key 1 is the key itself.
    key = child_key(owner.commitment, owner.commitment, invoice_number(SECURITY_LEVEL, PROTOCOL, KEY_ID))
    return curve.verify_ecdsa(der, curve.sha256(message), key)


def child_key(key: bytes, shared_secret: bytes, invoice: str) -> bytes:
    """The public key that BRC-42 derives from a public key; the secret is a compressed point."""
    return curve.offset_key(key, curve.hmac_sha256(shared_secret, invoice.encode()))


def invoice_number(level: int, protocol: str, key_id: str) -> str:
    """What BRC-43 calls a key of a protocol."""
    return f"{level}-{protocol.lower().strip()}-{key_id}"
