"""What outputs carry: inscriptions, data records, and who signed them."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chain.domain.aip import AIP_PREFIX, aip_fields, read_aip, signed_message, verify
from services.chain.domain.bitcom import (
    MAP_PREFIX,
    PIPE,
    data_output,
    file_fields,
    map_fields,
    protocols,
    read_data_output,
    read_map,
)
from services.chain.domain.inscriptions import Inscription, inscription, key_hash_paid, read_inscription
from services.chain.domain.keys import RECORD, BadSignature, KeyRing
from services.chain.domain.record_outputs import read_record_output, record_output
from services.chain.domain.scripts import BadScript, p2pkh, push, pushes
from services.chain.domain.values import Network
from services.chain.domain.wire import parse_transaction
from tests.chain.world import SEED

VECTORS = Path(__file__).parent.parent / "vectors"
AIP: dict[str, Any] = json.loads((VECTORS / "aip.json").read_text())
INSCRIBED: list[dict[str, Any]] = json.loads((VECTORS / "inscriptions.json").read_text())["scripts"]

ABOUT = {"app": "satreel", "type": "ord", "name": "Katze ♥", "creator": "x"}
HASH = bytes(range(20))
SIGNER = KeyRing(SEED, Network.REGTEST).key(RECORD)
ADDRESS = SIGNER.address(Network.REGTEST)


# inscriptions


@given(st.binary(min_size=1, max_size=70_000), st.binary(min_size=20, max_size=20))
def test_inscriptions_read_back(data: bytes, key_hash: bytes) -> None:
    script = inscription(key_hash, "image/png", data, ABOUT)
    assert read_inscription(script) == Inscription(key_hash, "image/png", data, ABOUT)
    assert key_hash_paid(script) == key_hash
    assert len(script) - len(data) < 460


def test_inscriptions_are_as_the_format_has_them() -> None:
    script = inscription(bytes(20), "image/png", b"PNG", {"app": "satreel"})
    assert script.hex() == (
        "0063036f7264" + "51" + "09" + b"image/png".hex() + "00" + "03" + b"PNG".hex() + "68"
        "76a914" + "00" * 20 + "88ac" + "6a"
        "22" + b"1PuQa7K62MiKCtssSLKy1kh56WWU7MtUR5".hex() + "03" + b"SET".hex()
        + "03" + b"app".hex() + "07" + b"satreel".hex()
    )  # fmt: skip


@pytest.mark.parametrize("vector", INSCRIBED, ids=lambda vector: vector["source"][:30])
def test_inscriptions_of_others_are_read(vector: dict[str, Any]) -> None:
    found = read_inscription(bytes.fromhex(vector["hex"]))
    assert (found.mime, found.data.decode(), dict(found.map)) == (
        vector["mime"],
        vector["data"],
        vector["map"],
    )
    assert (found.key_hash.hex() if found.key_hash else None) == vector["key_hash"]


def long_pushes(data: bytes) -> list[bytes]:
    """The same data by every operation that can push it."""
    size = len(data)
    found = [push(data)]
    for code, width in ((0x4C, 1), (0x4D, 2), (0x4E, 4)):
        if size < 1 << (8 * width):
            found.append(bytes((code,)) + size.to_bytes(width, "little") + data)
    return found


@pytest.mark.parametrize("first", ["envelope", "p2pkh", "separator"])
def test_every_push_and_both_orders_are_read(first: str) -> None:
    lock, tail = p2pkh(HASH), b"\x6a" + pushes(map_fields(ABOUT))
    types = [b"\x51", b"\x01\x01"]
    parts = (long_pushes(b"ord"), types, long_pushes(b"image/png"), long_pushes(b"PNG"))
    for ord_, number, mime, data in product(*parts):
        envelope = b"\x00\x63" + ord_ + number + mime + b"\x00" + data + b"\x68"
        script = {
            "envelope": envelope + lock,
            "p2pkh": lock + envelope,
            "separator": envelope + b"\xab" + lock,
        }
        assert read_inscription(script[first] + tail) == Inscription(HASH, "image/png", b"PNG", ABOUT)


def test_content_in_parts_other_fields_and_numbers_are_read() -> None:
    fields = (
        b"\x52" + push(b"\x05") + b"\x53" + push(b"p" * 32) + b"\x51" + push(b"a/b") + b"\x51" + push(b"c/d")
    )
    envelope = b"\x00\x63\x03ord" + fields + b"\x00" + push(b"one") + push(b"two") + b"\x53" + b"\x68"
    assert read_inscription(envelope + p2pkh(HASH)) == Inscription(HASH, "a/b", b"onetwo\x03")
    without_type = b"\x00\x63\x03ord\x00\x01x\x68"
    assert read_inscription(without_type) == Inscription(None, "", b"x")


def test_what_stands_behind_op_return_need_not_be_a_script() -> None:
    script = inscription(HASH, "image/png", b"PNG", {})
    assert read_inscription(script + b"\x6a\x4e\xff") == Inscription(HASH, "image/png", b"PNG")
    hidden = p2pkh(HASH) + b"\x6a" + script
    with pytest.raises(BadScript, match="before OP_RETURN"):
        read_inscription(hidden)


OPEN = b"\x00\x63\x03ord"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (b"", "nothing says ord"),
        (p2pkh(HASH), "nothing says ord"),
        (b"\x03ord", "no OP_FALSE OP_IF ord"),
        (b"\x51\x63\x03ord\x00\x01x\x68", "no OP_FALSE OP_IF ord"),
        (OPEN + b"\x51\x01a\x00\x01x", "has no end"),
        (OPEN + b"\x51\x01a\x6a\x68", "has no end"),
        (OPEN + b"\x51\x01a\x00\x76\x68", "no push"),
        (OPEN + b"\x51\x01a\x68", "no content"),
        (OPEN + b"\x51\x68", "no content"),
        (OPEN + b"\x51\x01\xff\x00\x01x\x68", "not UTF-8"),
        (OPEN + b"\x51" + push(b"a" * 256) + b"\x00\x01x\x68", "more than 255"),
        (OPEN + b"\x51\x01a\x00\x4c", "over the end"),
    ],
)
def test_what_is_no_inscription_is_told_why(script: bytes, reason: str) -> None:
    with pytest.raises(BadScript, match=reason):
        read_inscription(script)


def test_other_locks_hold_an_inscription_for_nobody() -> None:
    envelope = OPEN + b"\x51\x01a\x00\x01x\x68"
    for lock in (b"", b"\x51", p2pkh(HASH) + b"\x51", p2pkh(HASH) * 2):
        assert read_inscription(envelope + lock).key_hash is None
        assert key_hash_paid(envelope + lock) is None
    assert key_hash_paid(p2pkh(HASH)) == HASH


@given(st.binary(max_size=300))
def test_any_bytes_are_no_inscription_or_one(script: bytes) -> None:
    for one in (script, OPEN + script, inscription(HASH, "a/b", b"x", {}) + script):
        with suppress(BadScript):
            read_inscription(one)
        key_hash_paid(one)


# Bitcom and MAP


def test_map_is_read_as_public_readers_do() -> None:
    fields = [b"x", MAP_PREFIX, b"SET", b"not", b"this", PIPE]
    fields += [MAP_PREFIX, b"SET", b"a", b"1", b"\xff", b"2", b"a", b"3", b"odd", PIPE]
    fields += [MAP_PREFIX, b"DELETE", b"a", b"1", PIPE, MAP_PREFIX, b"SET", b"b", b"4"]
    assert read_map(fields) == {"a": "3", "b": "4"}
    assert read_map([]) == {}
    assert protocols([PIPE]) == [[], []]


def test_data_outputs_read_back() -> None:
    fields = [b"", b"|", b"\x05", b"a" * 300, b"b" * 70_000]
    script = data_output(fields)
    assert read_data_output(script) == read_data_output(script[1:]) == fields
    assert read_data_output(b"\x6a\x51\x60\x00") == [b"\x01", b"\x10", b""]


@pytest.mark.parametrize("script", [b"", b"\x00", p2pkh(HASH), b"\x6a\x01", b"\x6a\x76", b"\x6a\x4f"])
def test_other_outputs_carry_no_data(script: bytes) -> None:
    with pytest.raises(BadScript):
        read_data_output(script)


# AIP


@pytest.mark.parametrize("vector", AIP["transactions"], ids=lambda vector: vector["txid"][:8])
def test_signatures_of_the_main_chain_verify(vector: dict[str, Any]) -> None:
    tx = parse_transaction(bytes.fromhex(vector["hex"]))
    assert tx.txid == vector["txid"]
    fields = read_data_output(tx.outputs[0].script)
    found = read_aip(fields)
    assert [one.address for one in found] == vector["signed"]
    for one in found:
        verify(one, Network.MAIN)
        assert one.whole
        with pytest.raises(BadSignature, match="no P2PKH address of this network"):
            verify(one, Network.TEST)
    for one in read_aip([fields[0], b"Hello forger", *fields[2:]]):
        with pytest.raises(BadSignature, match="changed"):
            verify(one, Network.MAIN)


def test_a_signature_of_a_wallet_verifies_as_bytes_and_as_text() -> None:
    [vector] = AIP["fields"]
    fields = [text.encode() for text in vector["text"]]
    for signature in (base64.b64decode(vector["signature"]), vector["signature"].encode()):
        [found] = read_aip([*fields, signature])
        verify(found, Network.MAIN)


def signed(fields: list[bytes]) -> list[bytes]:
    return [*fields, *aip_fields(ADDRESS, SIGNER.sign_message(signed_message(fields)))]


def test_a_signature_over_parts_says_so() -> None:
    fields = [b"a", b"b", PIPE]
    part = SIGNER.sign_message(b"\x6ab|")
    [found] = read_aip([*fields, *aip_fields(ADDRESS, part), b"", b"\x02", b"\x03"])
    verify(found, Network.REGTEST)
    assert not found.whole


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({1: b"BITCOIN_SCHNORR"}, "algorithm"),
        ({2: b"1EXhSbGFiEAZCE5eeBvUxT6cBVHhrpPWXz"}, "no P2PKH address of this network"),
        ({2: b"somebody"}, "no P2PKH address"),
        ({2: KeyRing(SEED[::-1], Network.REGTEST).address(RECORD).encode()}, "not signed by"),
        ({3: bytes(65)}, "unknown header"),
        ({3: b"\x1f" + bytes(64)}, "no key"),
        ({3: b"aaaa"}, "65 bytes"),
        ({3: b"~"}, "neither"),
        ({4: b"\x09"}, "not before it"),
    ],
)
def test_a_bad_signature_is_told_why(change: dict[int, bytes], reason: str) -> None:
    fields = signed([b"a", PIPE])
    own = dict(enumerate(fields[2:])) | change
    with pytest.raises((BadScript, BadSignature), match=reason):
        verify(read_aip([*fields[:2], *own.values()])[0], Network.REGTEST)


def test_a_prefix_within_the_data_is_no_signature() -> None:
    assert read_aip([b"B", AIP_PREFIX, b"BITCOIN_ECDSA"]) == []
    with pytest.raises(BadScript, match="cut off"):
        read_aip([AIP_PREFIX, b"BITCOIN_ECDSA", b"x", PIPE, b"y"])


# records of rounds


def test_records_read_back_and_verify() -> None:
    found = read_record_output(record_output("r", b'{"a":1}', ADDRESS, SIGNER.sign_message))
    assert (found.round_id, found.payload, found.authored.address) == ("r", b'{"a":1}', ADDRESS)
    verify(found.authored, Network.REGTEST)


def test_a_record_is_read_in_its_one_layout_only() -> None:
    fields = read_data_output(record_output("r", b'{"a":1}', ADDRESS, SIGNER.sign_message))
    for at in range(len(fields) - 3):
        if at in (1, 13):
            continue  # the payload and the round: others tell of them
        with pytest.raises(BadScript):
            read_record_output(data_output([*fields[:at], b"other", *fields[at + 1 :]]))
    for at in range(len(fields)):
        with pytest.raises(BadScript, match=r"cut off|not exactly one"):
            read_record_output(data_output(fields[:at]))
    with pytest.raises(BadScript, match="the value of sha256 in MAP"):
        read_record_output(data_output([fields[0], b'{"a":2}', *fields[2:]]))
    with pytest.raises(BadScript, match="its name"):
        read_record_output(data_output([*fields[:13], b"s", *fields[14:]]))
    with pytest.raises(BadScript, match="not exactly one"):
        read_record_output(data_output([*fields, PIPE, *fields[-4:]]))


@pytest.mark.parametrize("script", [b"", b"\x6a", b"\x00\x6a\x01a", b"\x00\x6a\x4c\xff", bytes(30)])
def test_other_outputs_are_no_records(script: bytes) -> None:
    with pytest.raises(BadScript):
        read_record_output(script)


def test_another_file_signed_by_us_is_no_record() -> None:
    fields = signed([*file_fields(b"x", "text/plain", "x"), PIPE])
    with pytest.raises(BadScript, match="cut off, or another kind"):
        read_record_output(data_output(fields))
