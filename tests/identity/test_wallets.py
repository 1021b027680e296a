"""Signatures: those of other people's software are accepted, all else is refused with a reason."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bsv.constants import Network as BsvNetwork
from bsv.keys import PrivateKey, PublicKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.identity.adapters.wallets import BitcoinWallets, Network, bip322, brc100, curve, wallets
from services.identity.adapters.wallets.addresses import Kind, parsed
from services.identity.adapters.wallets.curve import ORDER, Malformed
from services.identity.adapters.wallets.wallets import SIGNATURE_CHARACTERS_MAX, check
from services.identity.domain.challenges import Purpose
from services.identity.domain.failures import AddressInvalid, SignatureInvalid
from services.identity.domain.users import Address
from tests.identity.signers import Signer, base64_of

VECTORS = Path(__file__).parent.parent / "vectors"
BSM: list[dict[str, Any]] = json.loads((VECTORS / "bsm.json").read_text())["vectors"]
WALLETS: dict[str, Any] = json.loads((VECTORS / "wallets.json").read_text())
SIGNER = Signer(bytes.fromhex("11" * 32))
MESSAGE = "satreel.test asks you to log in\nwith ü"
KINDS = list(Kind)


def by_source(vector: dict[str, Any]) -> str:
    return str(vector["source"])


def good(address: str, message: str, signature: str, network: Network = Network.MAIN) -> bool:
    """Whether it is accepted; a refusal must be SignatureInvalid, and nothing else may be raised."""
    with suppress(SignatureInvalid):
        check(address, network, message, signature)
        return True
    return False


def why(address: str, signature: str, message: str = MESSAGE) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        check(address, Network.REGTEST, message, signature)
    return caught.value.message


def addresses_of(vector: dict[str, Any]) -> list[str]:
    if vector.get("pubkey"):
        return [str(PublicKey(vector["pubkey"]).address(network=BsvNetwork.MAINNET))]
    return [address for address in (vector.get("address"), *vector.get("addresses", [])) if address]


@pytest.mark.parametrize(
    ("vector", "address"), [(found, address) for found in BSM for address in addresses_of(found)]
)
def test_public_vectors_of_signed_messages(vector: dict[str, Any], address: str) -> None:
    assert good(address, vector["message"], vector["signature"])
    assert not good(address, vector["message"] + " ", vector["signature"])


@pytest.mark.parametrize("vector", WALLETS["bip322"], ids=by_source)
def test_public_vectors_of_bip322(vector: dict[str, str]) -> None:
    address, message, signature = (vector[name] for name in ("address", "message", "signature"))
    assert good(address, message, signature)
    assert not good(address, message + " ", signature)
    raw = bytearray(base64.b64decode(signature.removeprefix("smp")))
    for bit in range(8 * len(raw)):
        raw[bit // 8] ^= 1 << bit % 8
        assert not good(address, message, base64_of(bytes(raw)))
        raw[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("vector", WALLETS["bip322_refused"], ids=by_source)
def test_public_vectors_that_bip322_refuses(vector: dict[str, str]) -> None:
    assert not good(vector["address"], vector["message"], vector["signature"])


@pytest.mark.parametrize("vector", WALLETS["bip322_hashes"], ids=lambda vector: vector["message"])
def test_public_vectors_of_bip322_transactions(vector: dict[str, str]) -> None:
    spent = bip322.to_spend(parsed(vector["address"], Network.MAIN), vector["message"].encode())
    assert spent[::-1].hex() == vector["to_spend"]
    assert bip322.to_sign(spent)[::-1].hex() == vector["to_sign"]


@pytest.mark.parametrize("vector", WALLETS["bip340"], ids=by_source)
def test_public_vectors_of_schnorr(vector: dict[str, Any]) -> None:
    signature, digest, key = (bytes.fromhex(vector[name]) for name in ("signature", "digest", "key"))
    try:
        accepted = curve.verify_schnorr(signature, digest, key)
    except Malformed:
        accepted = False
    assert accepted == vector["good"]


def test_public_vector_of_brc3() -> None:
    vector = WALLETS["brc3"]
    identity_key = bytes.fromhex(vector["identity_key"])
    invoice = brc100.invoice_number(vector["level"], vector["protocol"], vector["key_id"])
    key = brc100.child_key(identity_key, identity_key, invoice)
    digest = curve.sha256(vector["message"].encode())
    assert curve.verify_ecdsa(bytes.fromhex(vector["signature"]), digest, key)
    assert not curve.verify_ecdsa(bytes.fromhex(vector["signature"]), curve.sha256(b""), key)


@pytest.mark.parametrize("vector", WALLETS["brc42"]["cases"], ids=lambda vector: vector["inv"])
def test_public_vectors_of_brc42(vector: dict[str, str]) -> None:
    key, secret = bytes.fromhex(vector["pub"]), PrivateKey.from_hex(vector["priv"])
    shared_secret = PublicKey(key).derive_shared_secret(secret)
    assert brc100.child_key(key, shared_secret, vector["inv"]).hex() == vector["out"]


def test_the_arguments_of_create_signature_keep_to_brc43() -> None:
    assert 5 <= len(brc100.PROTOCOL) <= 400
    assert brc100.PROTOCOL.lower().strip() == brc100.PROTOCOL
    assert all(word.isalnum() for word in brc100.PROTOCOL.split(" "))
    assert not brc100.PROTOCOL.endswith(" protocol")


@pytest.mark.parametrize("scheme", Signer.SCHEMES)
def test_a_scheme_proves_its_addresses_and_no_others(scheme: str) -> None:
    signer, stranger = SIGNER, Signer(bytes.fromhex("22" * 32))
    for kind in KINDS:
        address = signer.address(kind)
        if kind not in Signer.SCHEMES[scheme]:
            continue
        signature = signer.sign(scheme, kind, MESSAGE)
        assert good(address, MESSAGE, signature, Network.REGTEST)
        assert not good(address, MESSAGE + "\n", signature, Network.REGTEST)
        assert not good(stranger.address(kind), MESSAGE, signature, Network.REGTEST)
        for other in set(KINDS) - {kind}:
            same = scheme in ("bsm 27", "bsm 31") and other in Signer.SCHEMES[scheme]
            assert good(signer.address(other), MESSAGE, signature, Network.REGTEST) == same


def test_a_header_of_an_uncompressed_key_is_for_that_key_too() -> None:
    owner = SIGNER.address(Kind.P2PKH, compressed=False)
    assert good(owner, MESSAGE, SIGNER.sign("bsm 27", Kind.P2PKH, MESSAGE), Network.REGTEST)
    assert not good(owner, MESSAGE, SIGNER.sign("bsm 31", Kind.P2PKH, MESSAGE), Network.REGTEST)


def test_every_header() -> None:
    raw = base64.b64decode(SIGNER.sign("bsm 31", Kind.P2PKH, MESSAGE))
    recovery_id = (raw[0] - 27) % 4
    counts = {
        Kind.P2PKH: {27, 31},
        Kind.P2SH: {27, 31, 35},
        Kind.P2WPKH: {27, 31, 39},
        Kind.P2TR: {27, 31},
    }
    for kind, headers in counts.items():
        for header in range(256):
            signature = base64_of(bytes([header]) + raw[1:])
            expected = header - recovery_id in headers
            assert good(SIGNER.address(kind), MESSAGE, signature, Network.REGTEST) == expected


def test_what_is_wrong_with_a_signed_message_is_said() -> None:
    address = SIGNER.address(Kind.P2PKH)
    raw = base64.b64decode(SIGNER.sign("bsm 31", Kind.P2PKH, MESSAGE))
    r, s = raw[1:33], int.from_bytes(raw[33:], "big")
    high = bytes([(raw[0] - 27 ^ 1) + 27]) + r + (ORDER - s).to_bytes(32, "big")
    for bad, reason in (
        ("!", "base64"),
        (base64_of(raw).rstrip("="), "base64"),
        (" " + base64_of(raw), "base64"),
        (base64_of(raw)[:-2] + "F=", "base64"),  # the same bytes, spelled otherwise
        (base64_of(raw + b"\0"), "65 bytes"),
        (base64_of(raw[:-1]), "65 bytes"),
        (base64_of(bytes([26]) + raw[1:]), "65 bytes"),
        (base64_of(bytes([35]) + raw[1:]), "P2SH-P2WPKH"),
        (base64_of(high), "s is high"),
        (base64_of(raw[:1] + bytes(32) + raw[33:]), "r and s"),
        (base64_of(raw[:33] + bytes(32)), "r and s"),
        (base64_of(raw[:1] + b"\xff" * 32 + raw[33:]), "r and s"),
        (base64_of(raw[:1] + (5).to_bytes(32, "big") + raw[33:]), "no key"),  # no point has this x
        ("A" * (SIGNATURE_CHARACTERS_MAX + 1), "too long"),
        ("smp" + base64_of(raw), ""),
        ("ful" + base64_of(raw), "simple"),
    ):
        assert reason in why(address, bad)


def test_what_is_wrong_with_a_witness_is_said() -> None:
    address = SIGNER.address(Kind.P2WPKH)
    der, key = SIGNER.witness(Kind.P2WPKH, MESSAGE)
    assert good(address, MESSAGE, base64_of(stack(der, key)), Network.REGTEST)
    r_bytes = der[3]
    s = int.from_bytes(der[6 + r_bytes : -1], "big")
    r_part, s_part = der[2 : 4 + r_bytes], der[4 + r_bytes : -1]
    high_s = (ORDER - s).to_bytes(33, "big")
    padded = b"\x02" + bytes([r_part[1] + 1]) + b"\0" + r_part[2:]
    negative = b"\x02\x20\xff" + bytes(31)
    for bad, reason in (
        (stack(der, key) + b"\0", "bytes follow"),
        (b"", "no witness"),
        (b"\xff" * 70, "no witness"),
        (b"\x02\xfd\x48\x00" + der, "no witness"),
        (stack(der), "a signature and a compressed key"),
        (stack(der, key, b""), "a signature and a compressed key"),
        (stack(der, SIGNER.key(compressed=False)), ""),
        (stack(der[:-1] + b"\x03", key), "sighash ALL"),
        (stack(der[:-1] + b"\x41", key), "sighash ALL"),
        (stack(b"", key), "sighash ALL"),
        (stack(b"\x01", key), "DER"),
        (stack(sequence(r_part, b"\x02\x21" + high_s) + b"\x01", key), "s is high"),
        (stack(sequence(padded, s_part) + b"\x01", key), "DER"),
        (stack(sequence(negative, s_part) + b"\x01", key), "DER"),
        (stack(sequence(b"\x02\x01\0", s_part) + b"\x01", key), "r and s"),
        (stack(sequence(r_part, s_part) + b"\0\x01", key), "DER"),
        (stack(b"\x30\x81" + der[1:], key), "DER"),
        (stack(der, b"\x02" + (5).to_bytes(32, "big")), ""),
        (stack(der, b"\x05" + key[1:]), ""),
    ):
        assert reason in why(address, base64_of(bad))


def test_a_key_that_is_no_point_is_refused_even_when_its_hash_fits() -> None:
    no_point = b"\x02" + (5).to_bytes(32, "big")
    der, _ = SIGNER.witness(Kind.P2WPKH, MESSAGE)
    address = Signer.segwit(0, curve.hash160(no_point))
    assert "no point" in why(address, base64_of(stack(der, no_point)))


def test_what_is_wrong_with_a_taproot_witness_is_said() -> None:
    address = SIGNER.address(Kind.P2TR)
    (signature,) = SIGNER.witness(Kind.P2TR, MESSAGE)
    (with_all,) = SIGNER.witness(Kind.P2TR, MESSAGE, sighash_type=b"\x01")
    for fine in (signature, with_all):
        assert good(address, MESSAGE, base64_of(stack(fine)), Network.REGTEST)
    for bad, reason in (
        (stack(signature + b"\x00"), "ALL or DEFAULT"),
        (stack(signature + b"\x83"), "ALL or DEFAULT"),
        (stack(signature + b"\x01"), ""),  # signed as DEFAULT
        (stack(with_all[:-1]), ""),
        (stack(signature, b"\x50"), "one signature"),
        (stack(signature[:-2]), "one signature"),
        (stack(signature[:32] + ORDER.to_bytes(32, "big")), "below the order"),
        (stack(bytes(64)), ""),
    ):
        assert reason in why(address, base64_of(bad))


def test_what_is_wrong_with_a_brc100_signature_is_said() -> None:
    address = SIGNER.address(Kind.IDENTITY_KEY)
    for bad, reason in (
        (SIGNER.sign("bsm 31", Kind.P2PKH, MESSAGE), "DER"),
        (SIGNER.brc100(MESSAGE, protocol="another app"), ""),
        (SIGNER.brc100(MESSAGE, key_id="2"), ""),
        (SIGNER.brc100(MESSAGE, level=1), ""),
        ("smp" + SIGNER.brc100(MESSAGE), ""),
        (base64_of(base64.b64decode(SIGNER.brc100(MESSAGE)) + b"\0"), "DER"),
        (base64.b64decode(SIGNER.brc100(MESSAGE)).hex(), ""),
    ):
        assert reason in why(address, bad)
    no_point = "02" + (5).to_bytes(32, "big").hex()
    assert "no point" in why(no_point, SIGNER.brc100(MESSAGE))


TEXTS = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=120).map(base64_of),
    st.binary(min_size=64, max_size=64).map(lambda raw: base64_of(b"\x1f" + raw)),
    st.binary(min_size=64, max_size=64).map(lambda raw: base64_of(b"\x01\x40" + raw)),
    st.lists(st.binary(max_size=80), max_size=4).map(lambda items: base64_of(stack(*items))),
    st.sampled_from(["", "=", "smp", "A" * 5_000, "/" * 512, "\ud800", "é", "\0" * 65]),
)


@given(signature=TEXTS, kind=st.sampled_from(KINDS), prefix=st.sampled_from(["", "smp", "ful"]))
@example("A" * 10_000_000, Kind.P2TR, "")
def test_garbage_is_refused_with_a_reason(signature: str, kind: Kind, prefix: str) -> None:
    assert not good(SIGNER.address(kind), MESSAGE, prefix + signature, Network.REGTEST)


@settings(max_examples=300)
@given(data=st.data(), scheme=st.sampled_from(sorted(Signer.SCHEMES)))
def test_a_changed_signature_is_none(data: st.DataObject, scheme: str) -> None:
    kind = data.draw(st.sampled_from(Signer.SCHEMES[scheme]))
    raw = bytearray(base64.b64decode(SIGNER.sign(scheme, kind, MESSAGE)))
    place = data.draw(st.integers(0, len(raw) - 1))
    before = raw[0]
    raw[place] ^= data.draw(st.integers(1, 255))
    said_otherwise = scheme.startswith("bsm") and place == 0 and (before - raw[0]) % 4 == 0
    accepted = good(SIGNER.address(kind), MESSAGE, base64_of(bytes(raw)), Network.REGTEST)
    assert not accepted or said_otherwise


BECH32_UPPER = SIGNER.address(Kind.P2WPKH).upper()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "not an address"),
        ("nonsense", "not an address"),
        ("1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "not of regtest"),
        (SIGNER.address(Kind.P2PKH)[:-1], "checksum"),
        (SIGNER.address(Kind.P2PKH) + "1", "checksum"),
        (" " + SIGNER.address(Kind.P2PKH), "not an address"),
        (SIGNER.address(Kind.P2PKH, Network.MAIN), "not of regtest"),
        (SIGNER.address(Kind.P2SH, Network.MAIN), "not of regtest"),
        (SIGNER.address(Kind.P2WPKH, Network.MAIN), "of main, not of regtest"),
        (SIGNER.address(Kind.P2TR, Network.TEST), "of test, not of regtest"),
        (BECH32_UPPER[:-1] + BECH32_UPPER[-1].lower(), "mixed case"),
        (SIGNER.address(Kind.P2WPKH)[:-1] + "b", "characters"),
        (SIGNER.address(Kind.P2WPKH)[:-1] + "q", "checksum"),
        (Signer.segwit(0, bytes(32)), "scripts"),
        (Signer.segwit(2, bytes(32)), "scripts"),
        # BIP-350's own: version 1 with the checksum of BIP-173, and version 0 with that of BIP-350.
        ("tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf", "checksum"),
        ("bc1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq54mell", "checksum"),
        ("bc1gmk9yu", "no segwit address"),
        ("1" * 90, "not an address"),
        ("m" * 5_000, "not an address"),
        ("٢" * 66, "not an address"),
        ("04" + "a" * 64, "not an address"),
    ],
)
def test_addresses_that_are_none_here(address: str, reason: str) -> None:
    with pytest.raises(AddressInvalid) as caught:
        parsed(address, Network.REGTEST)
    assert reason in caught.value.message
    assert caught.value.metadata["network"] == "regtest"


def test_a_private_key_pasted_as_an_address_is_not_repeated() -> None:
    for network in (BsvNetwork.MAINNET, BsvNetwork.TESTNET):
        secret = SIGNER.private.wif(network=network)
        with pytest.raises(AddressInvalid) as caught:
            parsed(secret, Network.REGTEST)
        assert secret not in f"{caught.value.message}{caught.value.metadata}"


@given(st.text(max_size=100))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for network in Network:
        with pytest.raises(AddressInvalid):
            parsed(text, network)


def test_an_address_has_one_spelling() -> None:
    for kind in (Kind.P2WPKH, Kind.P2TR, Kind.IDENTITY_KEY):
        address = SIGNER.address(kind)
        owner = parsed(address.upper(), Network.REGTEST)
        assert (owner.text, owner.kind) == (address, kind)
    assert parsed(SIGNER.address(Kind.P2PKH, Network.TEST), Network.TEST).kind is Kind.P2PKH


def test_payouts_go_to_p2pkh_only() -> None:
    known = BitcoinWallets(Network.REGTEST)
    for kind in KINDS:
        address = SIGNER.address(kind)
        assert known.checked_address(address, Purpose.LOG_IN) == address
        if kind is Kind.P2PKH:
            assert known.checked_address(address, Purpose.PAYOUT_ADDRESS) == address
            continue
        with pytest.raises(AddressInvalid, match=f"P2PKH addresses; this is a {kind}"):
            known.checked_address(address, Purpose.PAYOUT_ADDRESS)


def test_without_the_native_part_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "_native", None)
    with pytest.raises(RuntimeError, match="native"):
        BitcoinWallets(Network.REGTEST)


async def test_the_event_loop_runs_on_while_signatures_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    release, where = threading.Event(), []

    def slowly(*given: Any) -> None:
        where.append(threading.current_thread())
        assert release.wait(timeout=60)
        check(*given)

    monkeypatch.setattr(wallets, "check", slowly)
    checking = asyncio.create_task(
        BitcoinWallets(Network.REGTEST).verify(
            address=Address(SIGNER.address(Kind.P2TR)),
            message=MESSAGE,
            signature=SIGNER.sign("bip322", Kind.P2TR, MESSAGE),
        )
    )
    while not where:
        await asyncio.sleep(0.001)
    release.set()
    await checking
    assert where[0] is not threading.main_thread()


def sequence(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([0x30, len(body)]) + body


def stack(*items: bytes) -> bytes:
    return bytes([len(items)]) + b"".join(bytes([len(item)]) + item for item in items)
