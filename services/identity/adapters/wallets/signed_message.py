"""Bitcoin Signed Message: a header byte and a compact signature, from which the key is recovered.

Headers are those of BIP-137, each followed by three more for the other recovery ids, with what wallets do:

| header | says | counts for |
|---|---|---|
| 27–30 | uncompressed key | P2PKH of that key; as UniSat writes it for any key: also as 31–34 |
| 31–34 | compressed key | P2PKH; as Electrum and others write it for any address: P2SH-P2WPKH, P2WPKH, P2TR |
| 35–38 | P2SH-P2WPKH | that alone |
| 39–42 | P2WPKH | that alone |

s is low, as every signing library has made it for ten years; so one signature has one spelling.
"""

from __future__ import annotations

from services.identity.adapters.wallets import curve
from services.identity.adapters.wallets.addresses import Destination, Kind
from services.identity.adapters.wallets.curve import Malformed
from services.identity.adapters.wallets.encoding import compact_size

SIGNATURE_BYTES = 65
_HEADERS = range(27, 43)
_UNCOMPRESSED, _COMPRESSED, _NESTED, _NATIVE = range(4)
_ALONE = {_NESTED: Kind.P2SH, _NATIVE: Kind.P2WPKH}
_MAGIC = b"\x18Bitcoin Signed Message:\n"


def check(owner: Destination, message: bytes, signature: bytes) -> bool:
    """Whether the owner of the address signed the message. Raises Malformed."""
    if len(signature) != SIGNATURE_BYTES or signature[0] not in _HEADERS:
        raise Malformed("a Bitcoin Signed Message has 65 bytes, the first from 27 to 42")
    form, recovery_id = divmod(signature[0] - _HEADERS.start, 4)
    if form in _ALONE and owner.kind is not _ALONE[form]:
        raise Malformed(f"the signature is for a {_ALONE[form]} address, this one is {owner.kind}")
    digest = curve.hash256(_MAGIC + compact_size(len(message)) + message)
    key = curve.recovered_key(signature[1:], recovery_id, digest)
    if owner.commitment == _commitment(owner.kind, key):
        return True
    if form != _UNCOMPRESSED or owner.kind is not Kind.P2PKH:
        return False
    long_key = curve.recovered_key(signature[1:], recovery_id, digest, compressed=False)
    return owner.commitment == curve.hash160(long_key)


def _commitment(kind: Kind, key: bytes) -> bytes:
    if kind is Kind.P2TR:
        return curve.taproot_output_key(key)
    key_hash: bytes = curve.hash160(key)
    return curve.hash160(b"\x00\x14" + key_hash) if kind is Kind.P2SH else key_hash
