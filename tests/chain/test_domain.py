"""Rules without a world: scripts, keys, addresses, wire format, states, headers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, cast

import pytest
from bsv.hd.bip32 import Xprv, ckd
from bsv.keys import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.chain.domain import states
from services.chain.domain.addresses import address_of, key_hash_of
from services.chain.domain.blocks import outlines
from services.chain.domain.failures import AddressInvalid, ImpossibleTransition
from services.chain.domain.keys import CHANGE, BadSignature, KeyPath, KeyRing, KeyUse, SigningKey, signer_of
from services.chain.domain.values import Network, derived_id
from services.chain.domain.wire import BadBytes, parse_transaction, txid_of
from tests.chain.world import SEED

VECTORS = Path(__file__).parent.parent / "vectors"
BSV = json.loads((VECTORS / "bsv.json").read_text())
BSM = json.loads((VECTORS / "bsm.json").read_text())["vectors"]


def test_derivation_follows_bip32() -> None:
    vector = BSV["bip32"]
    master = Xprv.from_seed(vector["seed"])
    assert str(master) == vector["m"]
    assert str(ckd(master, "m/0")) == vector["m/0"]


def test_signed_messages_are_those_of_other_wallets() -> None:
    vector = next(found for found in BSM if found.get("wif"))
    key = SigningKey(PrivateKey(vector["wif"]))
    message = vector["message"].encode()
    signature = key.sign_message(message)
    assert base64.b64encode(signature).decode() == vector["signature"]
    assert signer_of(message, signature) == key.key_hash
    named = next(found for found in BSM if found.get("address"))
    signature = base64.b64decode(named["signature"])
    assert address_of(signer_of(named["message"].encode(), signature), Network.MAIN) == named["address"]
    assert address_of(signer_of(b"another", signature), Network.MAIN) != named["address"]


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65), b"\x1b" + bytes(64), b"\xff" * 65])
def test_what_is_no_signed_message_is_told(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        signer_of(b"x", signature)


def test_keys_never_show_themselves() -> None:
    ring = KeyRing(SEED, Network.REGTEST)
    key = ring.key(CHANGE)
    secret = key._key.hex()
    shown = f"{ring!r} {ring} {key!r} {key} {vars(ring).keys()}"
    assert secret not in shown
    assert key._key.wif() not in shown
    assert SEED.hex() not in shown
    with pytest.raises(ValueError, match="64 bytes") as problem:
        KeyRing(SEED[:32], Network.REGTEST)
    assert SEED[:32].hex() not in str(problem.value)


def test_every_use_has_keys_of_its_own() -> None:
    rings = [KeyRing(SEED, Network.REGTEST), KeyRing(SEED, Network.MAIN)]
    found = {ring.key(KeyPath(use, index)).key_hash for ring in rings for use in KeyUse for index in (0, 1)}
    assert len(found) == 2 * len(KeyUse) * 2


def test_addresses_of_other_networks_and_kinds_are_refused() -> None:
    key_hash = bytes(range(20))
    for network in Network:
        assert key_hash_of(address_of(key_hash, network), network) == key_hash
    main = address_of(key_hash, Network.MAIN)
    for wrong in (
        main,
        "3P14159f73E4gFr7JterCCQh9QjiTjiZrG",
        "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfO",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "",
        "0OIl",
        address_of(key_hash, Network.TEST)[:-1] + "1",
    ):
        with pytest.raises(AddressInvalid):
            key_hash_of(wrong, Network.REGTEST)


def test_a_transaction_of_the_chain_reads_as_others_read_it() -> None:
    raw = bytes.fromhex(BSV["ordinal_bid_transaction"]["hex"])
    found = parse_transaction(raw)
    assert len(found.spends) == 4
    assert [out.sats for out in found.outputs] == [40, 1, 100_000_000, 27_601]
    assert found.txid == txid_of(raw)
    block = bytes(80) + b"\x02" + raw + raw
    assert [txid_of(tx.raw) for tx in outlines(block)] == [found.txid] * 2


@given(st.binary(max_size=200))
def test_any_bytes_are_no_transaction(raw: bytes) -> None:
    with pytest.raises(BadBytes):
        parse_transaction(raw)


@given(st.data())
def test_cut_or_lengthened_transactions_are_refused(data: st.DataObject) -> None:
    raw = bytes.fromhex(BSV["ordinal_bid_transaction"]["hex"])
    cut = data.draw(st.integers(0, len(raw) - 1))
    for wrong in (raw[:cut], raw + b"\x00"):
        with pytest.raises(BadBytes):
            parse_transaction(wrong)


def test_states_move_only_as_their_tables_say() -> None:
    tables = (states.TX, states.DEPOSIT, states.WITHDRAWAL, states.JOB, states.COIN)
    for table in cast("tuple[states.Table[Any], ...]", tables):
        kind: Any = type(next(iter(table)))
        assert set(table) == set(kind), "every state stands in its table"
        for before in kind:
            for after in kind:
                if after is before or after in table[before]:
                    assert states.check(table, before, after) is after
                else:
                    with pytest.raises(ImpossibleTransition):
                        states.check(table, before, after)
    assert states.TX[states.TxState.FINAL] == {states.TxState.REORGANISED}
    assert states.WithdrawalState.QUEUED not in states.WITHDRAWAL[states.WithdrawalState.CONFIRMED]


def test_derived_ids_are_ids() -> None:
    ids = {derived_id(1, "a", "b"), derived_id(1, "a", "b"), derived_id(1, "ab"), derived_id(1, "b", "a")}
    assert len(ids) == 3
    assert all(len(id_) == 36 and id_[14] == "8" for id_ in ids)
