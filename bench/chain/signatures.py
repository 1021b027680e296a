"""Signatures checked: raw ones, and log-ins by each scheme, through the identity service's verifiers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import partial

from bsv.compat import bsm
from bsv.constants import Network as BsvNetwork
from bsv.keys import PrivateKey, PublicKey
from bsv.utils import unstringify_ecdsa_recoverable

from bench.chain.plan import Plan
from bench.chain.samples import SATREEL, SDK, Sample, measured, require
from services.identity.adapters.wallets import brc100, curve
from services.identity.adapters.wallets.addresses import Kind, Network
from services.identity.adapters.wallets.wallets import check
from services.identity.domain.failures import SignatureInvalid
from tests.identity.signers import Signer

ECDSA = "ECDSA signature (DER) verified"
SCHEMES = {
    "Bitcoin Signed Message verified, P2PKH": ("bsm 31", Kind.P2PKH),
    "BIP-322 verified, P2WPKH": ("bip322", Kind.P2WPKH),
    "BIP-322 verified, P2TR": ("bip322", Kind.P2TR),
    "BRC-100 signature verified": ("brc100", Kind.IDENTITY_KEY),
}
SIGNER = Signer(bytes.fromhex("11" * 32))
MESSAGE = (
    "satreel.example asks you to log in.\nAddress: mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfO\n"
    "Nonce: 5f2b6e1c9d\nIssued: 2026-11-26T00:00:00Z\n"
)


def samples(plan: Plan) -> Iterator[Sample]:
    """Each scheme, and how bsv-sdk checks the same where it can."""
    yield from _raw(plan.signatures)
    peers: dict[str, Callable[[str, int], bool]] = {"bsm 31": _sdk_signed_message, "brc100": _sdk_brc100}
    for work, (scheme, kind) in SCHEMES.items():
        address, signature = SIGNER.address(kind), SIGNER.sign(scheme, kind, MESSAGE)
        yield _of_scheme(work, address, signature, plan.signatures)
        if scheme in peers:
            sdk_once = partial(peers[scheme], signature)
            require(sdk_once(0), f"bsv-sdk refuses {work}")
            yield measured(work, SDK, plan.signatures // 2, sdk_once)


def _raw(count: int) -> Iterator[Sample]:
    digest, key = curve.sha256(MESSAGE.encode()), SIGNER.key()
    der: bytes = SIGNER.private.sign(digest, hasher=None)
    wrong = curve.sha256(b"another")
    require(curve.verify_ecdsa(der, digest, key) and not curve.verify_ecdsa(der, wrong, key), ECDSA)
    public = PublicKey(key)
    yield measured(ECDSA, SATREEL, count, lambda _: curve.verify_ecdsa(der, digest, key))
    yield measured(ECDSA, SDK, count, lambda _: public.verify(der, digest, hasher=None))


def _of_scheme(work: str, address: str, signature: str, count: int) -> Sample:
    check(address, Network.REGTEST, MESSAGE, signature)
    try:
        check(address, Network.REGTEST, f"{MESSAGE}.", signature)
    except SignatureInvalid:
        return measured(work, SATREEL, count, lambda _: check(address, Network.REGTEST, MESSAGE, signature))
    raise RuntimeError(f"another message passes: {work}")


def _sdk_signed_message(signature: str, _: int) -> bool:
    recoverable, compressed = unstringify_ecdsa_recoverable(signature)
    key = bsm.recover_public_key(recoverable, bsm.magic_hash(MESSAGE.encode()))
    return key.address(compressed, BsvNetwork.TESTNET) == SIGNER.address(Kind.P2PKH)


def _sdk_brc100(signature: str, _: int) -> bool:
    invoice = brc100.invoice_number(brc100.SECURITY_LEVEL, brc100.PROTOCOL, brc100.KEY_ID)
    child = SIGNER.private.public_key().derive_child(PrivateKey(1), invoice)
    return child.verify(base64.b64decode(signature), curve.sha256(MESSAGE.encode()), hasher=None)
