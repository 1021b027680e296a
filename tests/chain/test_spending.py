"""Building: value conservation, fee bounds, dust, 1 to 1,000 outputs, exact shares of the fee."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from bsv.script.script import Script
from bsv.script.type import P2PKH
from bsv.transaction import Transaction as SdkTransaction
from bsv.transaction_input import TransactionInput
from bsv.transaction_output import TransactionOutput
from bsv.utils import deserialize_ecdsa_der
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chain.domain.failures import BadTransaction, WalletEmpty
from services.chain.domain.keys import KeyPath, KeyRing, KeyUse
from services.chain.domain.scripts import p2pkh
from services.chain.domain.spending import (
    OUTPUTS_MAX,
    ChangeRule,
    Draft,
    Spendable,
    check,
    draft,
    fee_for,
    sign,
    size_max,
    split_fee,
)
from services.chain.domain.values import Network, Outpoint, Sats, Txid
from services.chain.domain.wire import ByteReader, Output, Spent, assemble, parse_transaction
from tests.chain.chainsim import check_scripts
from tests.chain.world import SEED

RING = KeyRing(SEED, Network.REGTEST)
CHANGE_SCRIPT = RING.key(KeyPath(KeyUse.CHANGE, 0)).script
DUST = 20


def coin(number: int, sats: int) -> Spendable:
    path = KeyPath(KeyUse.DEPOSIT, number % 3)
    txid = hashlib.sha256(str(number).encode()).hexdigest()
    return Spendable(Outpoint(Txid(txid), number % 5), Sats(sats), path, RING.key(path).script)


def outputs(amounts: list[int]) -> list[Output]:
    return [
        Output(Sats(sats), p2pkh(hashlib.sha256(b"%d" % n).digest()[:20])) for n, sats in enumerate(amounts)
    ]


amounts_of = st.lists(st.integers(1, 1_000_000), min_size=1, max_size=40)
coins_of = st.lists(st.integers(1, 10_000_000), min_size=0, max_size=40)


@given(amounts_of, coins_of, st.integers(100, 5_000), st.integers(1, 6), st.integers(100, 20_000))
def test_what_is_built_obeys_the_rules_or_is_refused(
    amounts: list[int], coins: list[int], rate: int, parts: int, part_min: int
) -> None:
    pool = [coin(n, sats) for n, sats in enumerate(coins)]
    rule = ChangeRule(CHANGE_SCRIPT, parts, part_min, DUST)
    wanted = outputs(amounts)
    try:
        found = draft(wanted, pool, rule, rate)
    except WalletEmpty:
        everything = sum(coins) - fee_for(size_max(len(coins), wanted), rate)
        worthless = fee_for(149, rate)  # coins that cost more than they bring may be in the way
        assert everything < sum(amounts) or min(coins, default=0) <= worthless
        return
    check(found, rate, DUST)
    assert found.outputs[: len(wanted)] == tuple(wanted)
    assert all(out.script == CHANGE_SCRIPT and out.sats > 0 for out in found.outputs[len(wanted) :])
    assert len(found.outputs) == len(wanted) + found.change
    assert found.change <= parts
    assert sum(c.sats for c in found.inputs) == sum(o.sats for o in found.outputs) + found.fee_sats
    if found.change > 1:
        assert min(out.sats for out in found.outputs[len(wanted) :]) >= part_min


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(1, 30))
def test_what_is_signed_is_valid_and_pays_the_rate_on_its_size(inputs: int, paid: int) -> None:
    pool = [coin(n, 5_000) for n in range(inputs)]
    amount = max(1, (inputs * 5_000 - 2_000) // paid // 2)
    found = draft(outputs([amount] * paid), [], ChangeRule(CHANGE_SCRIPT), 100, fixed=pool)
    check(found, 100, DUST)
    signed = sign(found, RING.key)
    tx = parse_transaction(signed.raw)
    assert tx.txid == signed.txid
    assert tx.outputs == found.outputs
    assert len(signed.raw) <= size_max(len(found.inputs), found.outputs)
    assert signed.fee_sats >= fee_for(len(signed.raw), 100)
    sources = {}
    for one in pool:
        filler = [Output(Sats(1), b"\x51")] * one.outpoint.vout
        sources[one.outpoint.txid] = replace(tx, outputs=(*filler, Output(one.sats, one.script)))
    check_scripts(tx, sources)


def signed_by_the_sdk(found: Draft, lock_time: int) -> SdkTransaction:
    """The same transaction as bsv-sdk makes it."""
    inputs = []
    for one in found.inputs:
        unlock = P2PKH().unlock(RING.key(one.path)._key)
        given = TransactionInput(
            source_txid=one.outpoint.txid,
            source_output_index=one.outpoint.vout,
            unlocking_script_template=unlock,
        )
        given.satoshis, given.locking_script = one.sats, Script(one.script)
        inputs.append(given)
    paid = [TransactionOutput(Script(out.script), out.sats) for out in found.outputs]
    sdk = SdkTransaction(inputs, paid, version=1, locktime=lock_time)
    sdk.sign()
    return sdk


@settings(max_examples=40)
@given(
    st.integers(1, 6),
    st.lists(
        st.sampled_from([b"\x00\x6a\x01x", b"\x6a" * 0xFC, b"\x6a" * 0xFD, b"\x6a" * 70_000]), max_size=2
    ),
    st.sampled_from([1, 2, 40, 252, 300]),
    st.sampled_from([0, 1, 0xFFFFFFFF]),
)
def test_signed_bytes_are_those_of_the_sdk(inputs: int, scripts: list[bytes], paid: int, mark: int) -> None:
    wanted = [*(Output(Sats(1), script) for script in scripts), *outputs([1_000] * paid)]
    pool = [coin(n, 600_000) for n in range(inputs)]
    found = draft(wanted, [], ChangeRule(CHANGE_SCRIPT, 3), 100, fixed=pool)
    check(found, 100, DUST)
    signed = sign(found, RING.key, mark)
    sdk = signed_by_the_sdk(found, mark)
    assert signed.raw == sdk.serialize()
    assert signed.txid == sdk.txid()


HALF_ORDER = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0


def test_signatures_have_a_low_s_and_cover_everything() -> None:
    many = draft([], [], ChangeRule(CHANGE_SCRIPT), 100, fixed=[coin(n, 500) for n in range(64)])
    raw = sign(many, RING.key).raw
    reader = ByteReader(raw, 4)
    for _ in range(reader.varint()):
        reader.take(36)
        reader.varint()
        signature = reader.take(reader.varint())
        r, s = deserialize_ecdsa_der(signature[:-1])
        assert 0 < s <= HALF_ORDER
        assert r > 0
        assert signature[-1] == 0x41, "SIGHASH_ALL | FORKID"
        assert len(reader.take(reader.varint())) == 33
        reader.take(4)


@pytest.mark.parametrize("inputs", [1, 252, 253, 600])
@pytest.mark.parametrize("change", [0, 1, 4])
def test_the_largest_size_is_counted_to_the_byte(inputs: int, change: int) -> None:
    paid = outputs([1_000] * 250)
    longest = [b"\x48" + bytes(72) + b"\x21" + bytes(33)] * inputs
    back = [Output(Sats(1), CHANGE_SCRIPT)] * change
    spent = [Spent(coin(n, 1).outpoint, Sats(1), b"") for n in range(inputs)]
    assert size_max(inputs, paid, change) == len(assemble(spent, longest, [*paid, *back]))


@pytest.mark.parametrize("count", [1, 2, 252, 253, 999, OUTPUTS_MAX])
def test_up_to_a_thousand_outputs(count: int) -> None:
    found = draft(outputs([1_000] * count), [coin(0, 5_000_000)], ChangeRule(CHANGE_SCRIPT), 100)
    check(found, 100, DUST)
    signed = sign(found, RING.key)
    assert fee_for(len(signed.raw), 100) <= signed.fee_sats <= fee_for(len(signed.raw), 100) + 1
    assert len(parse_transaction(signed.raw).outputs) == count + 1


def more(output: Output, sats: int) -> Output:
    return replace(output, sats=Sats(output.sats + sats))


def test_broken_drafts_are_not_signed() -> None:
    good = draft(outputs([1_000]), [coin(0, 5_000)], ChangeRule(CHANGE_SCRIPT), 100)
    check(good, 100, DUST)
    paid, back = good.outputs
    wrong = [
        replace(good, inputs=()),
        replace(good, outputs=()),
        replace(good, inputs=good.inputs * 2),
        replace(good, fee_sats=Sats(good.fee_sats + 1)),
        replace(good, outputs=(replace(paid, sats=Sats(4_999)), back)),
        replace(
            good, outputs=(paid, replace(back, sats=Sats(back.sats + 1))), fee_sats=Sats(good.fee_sats - 1)
        ),
        replace(good, outputs=(paid,), fee_sats=Sats(4_000)),
        replace(good, outputs=(replace(paid, sats=Sats(0)), more(back, 1_000))),
        replace(good, outputs=(replace(paid, sats=Sats(-1)), more(back, 1_001))),
    ]
    for broken in wrong:
        with pytest.raises(BadTransaction):
            check(broken, 100, DUST)


def test_a_rate_below_the_floor_is_not_signed() -> None:
    cheap = draft(outputs([1_000]), [coin(0, 5_000)], ChangeRule(CHANGE_SCRIPT), 50)
    with pytest.raises(BadTransaction):
        check(cheap, 50, DUST)


def test_data_outputs_may_carry_nothing() -> None:
    data = Output(Sats(0), b"\x00\x6a\x01x")
    found = draft([data], [coin(0, 500)], ChangeRule(CHANGE_SCRIPT), 100)
    check(found, 100, DUST)


def test_change_that_is_not_worth_it_goes_to_the_miner() -> None:
    exact = fee_for(size_max(1, outputs([1_000])), 100)
    found = draft(outputs([1_000]), [coin(0, 1_000 + exact + 10)], ChangeRule(CHANGE_SCRIPT), 100)
    assert isinstance(found, Draft)
    assert (found.change, found.fee_sats) == (0, exact + 10)
    check(found, 100, DUST)


@given(st.integers(0, 5_000), st.lists(st.integers(0, 300), max_size=60))
def test_shares_of_the_fee_are_exact(fee: int, ceilings: list[int]) -> None:
    shares, rest = split_fee(Sats(fee), [Sats(ceiling) for ceiling in ceilings])
    assert sum(shares) + rest == fee
    assert all(0 <= share <= ceiling for share, ceiling in zip(shares, ceilings, strict=True))
    assert rest == max(0, fee - sum(ceilings))
    unbound = [share for share, ceiling in zip(shares, ceilings, strict=True) if share < ceiling]
    assert not unbound or max(unbound) - min(unbound) <= 1
