"""The right record passes; each single falsification is told by its own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chain.app.ports import Found
from services.chain.domain.bitcom import data_output, read_data_output
from services.chain.domain.merkle import BadProof
from services.chain.domain.values import BlockHash, Network, Txid
from services.ledger.domain.json_values import RecordInvalid
from services.rounds.domain.record import FORMAT, FORMAT_VERSION
from tests.verifier.world import ADDRESS, ANCHOR_HEIGHT, FORGER, MINED_HEIGHT, World, mined
from verifier.findings import Findings, Unanswered
from verifier.payload import read_payload
from verifier.report import report
from verifier.user import leads_to

ALL = [
    "transaction", "layout", "signature", "block", "payload", "anchor", "root", "own sums", "export",
    "agreement", "recomputation",
]  # fmt: skip


def wrong(findings: Findings) -> dict[str, tuple[str, ...]]:
    """What does not hold, by the name of its check."""
    return {check.name: check.flaws for check in findings.checks if check.flaws}


@settings(max_examples=15)
@given(st.integers(0, 2**32))
async def test_a_right_record_passes(seed: int) -> None:
    findings, _ = await World.of(seed).write().verify()
    assert wrong(findings) == {}
    assert ([check.name for check in findings.checks], findings.left_out) == (ALL, [])
    assert report(findings, [], "").endswith("11 checks hold\n")


async def test_without_the_export_the_chain_is_checked_alone() -> None:
    findings, _ = await World.of().write().verify(export=False, signer="")
    assert findings.hold
    assert [check.name for check in findings.checks] == ALL[:-3]
    assert "recomputation  not checked: no --record was given" in report(findings, [], "")
    assert f"by {ADDRESS}, whether that is Satreel's is for you to know" in report(findings, [], "")


# falsified on chain: whoever has the key could sign these


def first_payout(value: dict[str, Any]) -> None:
    value["payouts"][0][3] += 1


def swap_ranks(value: dict[str, Any]) -> None:
    lines = value["standings"]
    lines[0][1:], lines[1][1:] = lines[1][1:], lines[0][1:]


def score(value: dict[str, Any]) -> None:
    value["standings"][0][2] += 1


def root(value: dict[str, Any]) -> None:
    value["payouts_root"] = "00" * 32


def fee(value: dict[str, Any]) -> None:
    value["sums"]["fee"] += 1


def rules(value: dict[str, Any]) -> None:
    value["rules"]["platform_fee_bp"] = 300


def quality(value: dict[str, Any]) -> None:
    value["entries"][0][2] -= 1


def digest(value: dict[str, Any]) -> None:
    value["ledger_record_sha256"] = "00" * 32


def times(value: dict[str, Any]) -> None:
    value["round"]["starts_at_ms"] += 1


def anchor_hash(value: dict[str, Any]) -> None:
    value["anchor"]["hash"] = "00" * 32


def anchor_height(value: dict[str, Any]) -> None:
    value["anchor"]["height"] = 500


def missing(value: dict[str, Any]) -> None:
    del value["sums"]


def unknown(value: dict[str, Any]) -> None:
    value["more"] = 1


def version(value: dict[str, Any]) -> None:
    value["version"] = 2


def fraction(value: dict[str, Any]) -> None:
    value["sums"]["fee"] = 1.5


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (first_payout, "root", "the payouts have the root"),
        (first_payout, "own sums", "payouts: rank 1 is recorded as"),
        (first_payout, "agreement", "payouts[0][3]"),
        (swap_ranks, "own sums", "rank 2 is better than rank 1"),
        (swap_ranks, "agreement", "ranking[0]"),
        (score, "own sums", "score of rank 1 is"),
        (root, "root", "the record says 0000"),
        (fee, "own sums", "sums: fee is"),
        (rules, "own sums", "fee of rank 1 is"),
        (rules, "agreement", "rules.platform_fee_bp: 300 on chain, 2"),
        (quality, "own sums", "its seconds and quality make"),
        (quality, "agreement", "entries[0][2]"),
        (digest, "export", "the record on chain names 0000"),
        (times, "agreement", "round.starts_at_ms"),
        (anchor_hash, "anchor", "the record says 0000"),
        (anchor_height, "anchor", "the chain has no block 500"),
        (missing, "payload", "sums: missing"),
        (unknown, "payload", "more: unknown"),
        (version, "payload", "version 1"),
        (fraction, "payload", "sums.fee: must be a whole number"),
    ],
)
async def test_what_was_falsified_on_chain_is_told(
    change: Callable[[dict[str, Any]], None], check: str, words: str
) -> None:
    world = World.of()
    change(world.payload)
    findings, _ = await world.write().verify()
    flaws = wrong(findings)
    assert any(words in flaw for flaw in flaws[check]), flaws
    assert not {"transaction", "layout", "signature", "block"} & set(flaws)
    if check == "payload":
        assert {name for name, _ in findings.left_out} == {*ALL[5:]}


async def test_an_anchor_above_its_record_is_told() -> None:
    world = World.of()
    world.payload["anchor"] = {"height": MINED_HEIGHT, "hash": "00" * 32, "orphaned": []}
    world.write()
    findings, _ = await world.verify()
    assert any("not above its anchor" in flaw for flaw in wrong(findings)["anchor"])


# falsified in the export


def paid_less(value: dict[str, Any]) -> None:
    value["payouts"][0][3] -= 1


def paid_to_another(value: dict[str, Any]) -> None:
    value["payouts"][0][2] = value["payouts"][1][2]


def ranked_otherwise(value: dict[str, Any]) -> None:
    value["ranking"].reverse()


def owner_paid(value: dict[str, Any]) -> None:
    value["entries"][0]["owners"][0]["paid"] += 1


def seconds(value: dict[str, Any]) -> None:
    value["entries"][0]["paid_seconds"] += 1


def carried(value: dict[str, Any]) -> None:
    value["sums"]["carried_in"] += 1


def transfer(value: dict[str, Any]) -> None:
    value["payout_transfers"][0] = "somebody's"


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (paid_less, "agreement", "does not add up"),
        (paid_less, "recomputation", "payout of rank 1: recorded"),
        (paid_to_another, "agreement", "payouts[0][2]"),
        (paid_to_another, "recomputation", "payout of rank 1: recorded"),
        (ranked_otherwise, "agreement", "ranking[0]"),
        (ranked_otherwise, "recomputation", "ranking: recorded"),
        (owner_paid, "recomputation", "owner's part"),
        (seconds, "recomputation", "takings of meme"),
        (carried, "recomputation", "pool: recorded"),
        (transfer, "export", "its SHA-256 is"),
    ],
)
async def test_what_was_falsified_in_the_export_is_told(
    change: Callable[[dict[str, Any]], None], check: str, words: str
) -> None:
    findings, _ = await World.of().write().edit(change).verify()
    flaws = wrong(findings)
    assert any(words in flaw for flaw in flaws[check]), flaws
    assert "export" in flaws, "its hash tells every change"
    assert set(flaws) <= {"export", "agreement", "recomputation"}


async def test_the_export_of_another_round_is_told() -> None:
    world = World.of().write()

    def rename(value: dict[str, Any]) -> None:
        value["round"]["id"] = "0190ffff-0000-7000-8000-000000000001"

    findings, _ = await world.edit(rename).verify()
    assert any("the export is of round 0190ffff" in flaw for flaw in wrong(findings)["agreement"])
    assert findings.left_out == [("recomputation", "the export is of another round")]


async def test_a_record_of_other_bytes_is_another_record() -> None:
    world = World.of().write()
    world.export = json.dumps(json.loads(world.export), indent=1).encode()
    findings, _ = await world.verify()
    assert set(wrong(findings)) == {"export"}


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
async def test_a_cut_export_is_no_answer(cut: int) -> None:
    world = World.of().write()
    world.export = world.export[:cut]
    with pytest.raises(Unanswered, match=r"round\.json: the record is no JSON"):
        await world.verify()


# falsified around the record


async def test_a_forger_s_signature_is_told() -> None:
    findings, _ = await World.of().write(signer=FORGER).verify()
    forger = FORGER.address(Network.REGTEST)
    assert wrong(findings) == {"signature": (f"signed by {forger}, not by {ADDRESS}",)}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (-1, bytes(65), "unknown header"),
        (-1, FORGER.sign_message(b"x"), "not signed by"),
        (-2, FORGER.address(Network.REGTEST).encode(), "not signed by"),
        (-2, b"1EXhSbGFiEAZCE5eeBvUxT6cBVHhrpPWXz", "no P2PKH address of this network"),
        (-3, b"NONE", "algorithm"),
    ],
)
async def test_a_falsified_signature_is_told(field: int, value: bytes, words: str) -> None:
    def change(script: bytes) -> bytes:
        fields = read_data_output(script)
        fields[field] = value
        return data_output(fields)

    findings, _ = await World.of().write(change).verify()
    flaws = wrong(findings)
    assert set(flaws) == {"signature"}
    assert words in flaws["signature"][0]


@pytest.mark.parametrize("part", [0.01, 0.3, 0.9, 0.999])
async def test_a_truncated_record_is_told(part: float) -> None:
    findings, _ = await World.of().write(lambda script: script[: int(len(script) * part)]).verify()
    assert set(wrong(findings)) == {"layout"}
    assert [name for name, _ in findings.left_out] == ["signature", "block", "payload", *ALL[5:]]


async def test_the_transaction_of_another_round_is_told() -> None:
    world = World.of().write()
    other = World.of(4)
    other.payload["round"]["id"] = "0190ffff-0000-7000-8000-000000000002"
    other.write()
    world.chain, world.txid = other.chain, other.txid
    findings, _ = await world.verify()
    flaws = wrong(findings)
    assert set(flaws) == {"export", "agreement"}
    assert "on chain of round 0190ffff" in flaws["agreement"][0]


async def test_map_that_names_another_round_is_told() -> None:
    world = World.of()
    payload = world.payload
    world.payload = {**payload, "round": {**payload["round"], "id": "another"}}
    right = payload["round"]["id"]

    def change(script: bytes) -> bytes:
        fields = read_data_output(script)
        fields[4], fields[13] = f"{right}.json".encode(), right.encode()
        return data_output(fields)

    findings, _ = await world.write(change).verify()
    assert f"it is of round another, MAP says {right}" in wrong(findings)["payload"]


async def test_a_payment_is_no_record() -> None:
    world = World.of()
    world.txid = world.chain.carry(b"\x51")
    findings, _ = await world.verify()
    assert wrong(findings) == {"layout": ("0 outputs carry a round's record, one is due",)}


async def test_an_unknown_transaction_is_no_answer() -> None:
    with pytest.raises(Unanswered, match="knows no transaction"):
        await World.of().verify()


# a source that lies


async def test_other_bytes_are_told() -> None:
    world = World.of().write()
    other = world.chain.carry(b"\x51")
    world.chain.raw[world.txid] = world.chain.raw[other]
    findings, _ = await world.verify()
    assert "the source gave" in wrong(findings)["transaction"][0]
    world.chain.raw[world.txid] = b"x"
    findings, _ = await world.verify()
    assert "no transaction" in wrong(findings)["transaction"][0]


def unmined(world: World) -> None:
    del world.chain.proofs[world.txid]


def other_branch(world: World) -> None:
    world.chain.proofs[world.txid]["nodes"] = ["22" * 32]


def other_place(world: World) -> None:
    world.chain.proofs[world.txid]["index"] = 0


def other_block(world: World) -> None:
    world.chain.proofs[world.txid]["target"] = world.chain.headers[ANCHOR_HEIGHT].hash


def unknown_block(world: World) -> None:
    world.chain.proofs[world.txid]["target"] = "00" * 32


def no_proof(world: World) -> None:
    world.chain.proofs[world.txid] = {"index": "x"}


def without_work(world: World) -> None:
    block = world.chain.headers[MINED_HEIGHT]
    easy = mined(block.previous_hash, block.merkle_root, block.time_s)
    harder = type(easy)(1, easy.previous_hash, easy.merkle_root, easy.time_s, 0x1D00FFFF, 1)
    world.chain.orphans[harder.hash] = Found(harder, MINED_HEIGHT, 1)
    world.chain.proofs[world.txid]["target"] = harder.hash


def orphaned(world: World) -> None:
    block = world.chain.headers[MINED_HEIGHT]
    other = mined(block.previous_hash, block.merkle_root, block.time_s + 9)
    world.chain.orphans[other.hash] = Found(other, MINED_HEIGHT, -1)
    world.chain.proofs[world.txid]["target"] = other.hash


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (unmined, "in no block yet"),
        (other_branch, "not proven to be in"),
        (other_place, "not proven to be in"),
        (other_block, "not proven to be in"),
        (unknown_block, "does not know block"),
        (no_proof, "txOrId"),
        (without_work, "proof of work"),
        (orphaned, "not on the best chain"),
    ],
)
async def test_a_block_that_does_not_prove_it_is_told(lie: Callable[[World], None], words: str) -> None:
    world = World.of().write()
    lie(world)
    findings, _ = await world.verify()
    assert set(wrong(findings)) == {"block"}
    assert words in wrong(findings)["block"][0]


async def test_a_proof_that_the_source_itself_cannot_read_is_told() -> None:
    world = World.of().write()

    async def proof(txid: Txid) -> object | None:
        raise BadProof("a node is not a hash")

    world.chain.proof = proof  # type: ignore[method-assign] # as WhatsOnChain's reader says it
    findings, _ = await world.verify()
    assert wrong(findings) == {"block": ("a node is not a hash",)}


def test_a_payload_with_half_a_character_is_told() -> None:
    head = f'"format":"{FORMAT}","version":{FORMAT_VERSION}'
    with pytest.raises(RecordInvalid, match="not canonical"):
        read_payload(f'{{"anchor":"\\ud800",{head}}}'.encode())


async def test_an_anchor_that_the_source_cannot_show_is_told() -> None:
    world = World.of().write()
    hidden = world.chain.headers[ANCHOR_HEIGHT]

    async def header(block_hash: BlockHash) -> Found | None:
        return None if block_hash == hidden.hash else await type(world.chain).header(world.chain, block_hash)

    world.chain.header = header  # type: ignore[method-assign] # a source that hides a block
    findings, _ = await world.verify()
    assert "does not show the header" in wrong(findings)["anchor"][0]


# what one user got


async def test_every_payout_of_a_user_is_proved() -> None:
    world = World.of().write()
    users = {user for _, _, user, _ in world.payload["payouts"]}
    assert users
    for user in users:
        findings, seen = await world.verify(user=user)
        assert findings.hold
        paid = [row for row in world.payload["payouts"] if row[2] == user]
        assert [json.loads(proof.leaf) for proof in seen.proofs] == paid
        assert all(leads_to(proof, seen.root) for proof in seen.proofs)
        text = report(findings, seen.proofs, seen.root)
        assert f"user {user}: {sum(row[3] for row in paid)} sat of the pool in {len(paid)} payouts" in text
        assert f"under the root {seen.root}" in text


async def test_a_user_who_got_nothing_and_a_payout_without_proof() -> None:
    findings, seen = await World.of().write().verify(user="nobody")
    assert (findings.hold, seen.proofs) == (True, [])
    assert "user nobody: 0 sat of the pool in 0 payouts, 0 sat all together" in report(findings, [], "")
    world = World.of()
    root(world.payload)
    user = world.payload["payouts"][0][2]
    findings, _ = await world.write().verify(user=user)
    assert "does not lead to the root" in wrong(findings)["user"][0]


async def test_many_flaws_are_shown_in_part() -> None:
    findings = Findings()
    findings.add("own sums", flaws=[str(n) for n in range(50)])
    text = report(findings, [], "")
    assert "and 30 more" in text
    assert text.endswith("1 checks do NOT hold, 0 do\n")
