"""Merkle proofs: those that others published, every branch of every small tree, and what must be refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chain.domain.bump import Bump, Flag, Leaf
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.header import Header
from services.chain.domain.merkle import BadProof, Branch, check_included, depth_of, node_of, root_of
from services.chain.domain.tsc import TscProof
from services.chain.domain.values import BlockHash, Network, Txid
from services.chain.domain.wire import ByteReader, hash_text, parse_transaction, sha256d

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "headers.json").read_text())
BUMP_HEX = VECTORS["bump"]["hex"]
TSC = VECTORS["tsc"]
GENESIS = CONSENSUS[Network.REGTEST].genesis


def txids(count: int) -> list[Txid]:
    return [Txid(sha256d(f"tx {place}".encode()).hex()) for place in range(count)]


def slow_levels(leaves: list[Txid]) -> list[list[bytes]]:
    """All levels of the tree, the last node of an odd one written twice."""
    levels = [[bytes.fromhex(txid)[::-1] for txid in leaves]]
    while len(levels[-1]) > 1:
        if len(levels[-1]) % 2:
            levels[-1].append(levels[-1][-1])
        level = levels[-1]
        levels.append([sha256d(level[at] + level[at + 1]) for at in range(0, len(level), 2)])
    return levels


def branch_of(leaves: list[Txid], index: int) -> Branch:
    levels, siblings = slow_levels(leaves), list[bytes | None]()
    size, place = len(leaves), index
    for level in levels[:-1]:
        siblings.append(None if (place ^ 1) >= size else level[place ^ 1])
        size, place = (size + 1) // 2, place // 2
    return Branch(index, tuple(siblings))


def bump_of(leaves: list[Txid], proven: list[int]) -> Bump:
    """A path of several transactions, without the nodes that follow from others."""
    levels = slow_levels(leaves)
    found, known, size = [], set(proven), len(leaves)
    for number, level in enumerate(levels[:-1] or levels):
        flag = Flag.TXID if number == 0 else Flag.NODE
        given = {at: Leaf(flag, level[at]) for at in proven} if number == 0 else {}
        for at in sorted(known):
            if len(leaves) > 1 and (at ^ 1) not in known:
                given[at ^ 1] = Leaf(Flag.REPEATED) if (at ^ 1) >= size else Leaf(Flag.NODE, level[at ^ 1])
        found.append(dict(sorted(given.items())))
        known, size = {at // 2 for at in known}, (size + 1) // 2
    return Bump(7, tuple(found))


@pytest.mark.parametrize("count", [*range(1, 20), 31, 32, 33, 100])
def test_every_transaction_of_a_block_is_proven(count: int) -> None:
    leaves = txids(count)
    root = hash_text(slow_levels(leaves)[-1][0])
    assert root_of(leaves) == root
    for index, txid in enumerate(leaves):
        branch = branch_of(leaves, index)
        assert (branch.root(txid), branch.depth) == (root, depth_of(count))
        bump = bump_of(leaves, [index])
        assert (bump.root, bump.txids, bump.branch(txid)) == (root, [txid], branch)
        assert Bump.parse(bytes(bump)) == bump


@given(st.data())
def test_several_transactions_in_one_path(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    proven = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    leaves = txids(count)
    bump = Bump.parse(bytes(bump_of(leaves, proven)))
    assert bump.root == root_of(leaves)
    assert bump.txids == [leaves[at] for at in proven]
    for at in proven:
        assert bump.branch(leaves[at]) == branch_of(leaves, at)
    # One bit changed anywhere in its bytes: no proof, or none of this root for one of these places.
    raw = bytearray(bytes(bump))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    try:
        other = Bump.parse(bytes(raw))
    except BadProof:
        return
    assert other.height != bump.height or other.root != bump.root or other.txids != bump.txids


def test_the_published_path_of_brc74() -> None:
    vector = VECTORS["bump"]
    bump = Bump.from_hex(BUMP_HEX)
    assert (bump.height, bytes(bump).hex(), bump.root) == (813_706, BUMP_HEX, vector["root"])
    for txid in vector["txids"]:
        assert bump.branch(txid).root(txid) == vector["root"]
    # Nodes that follow from others may be left out.
    trimmed = Bump.parse(bytes(replace(bump, levels=(bump.levels[0], {}, *bump.levels[2:]))))
    assert trimmed.root == vector["root"]
    with pytest.raises(BadProof, match="not among"):
        bump.branch(Txid("ab" * 32))


def test_the_published_path_in_beef() -> None:
    reader = ByteReader(bytes.fromhex(VECTORS["beef"]["hex"]))
    reader.take(4)
    assert reader.varint() == 1
    bump = Bump.read(reader)
    assert (bump.height, reader.varint()) == (814_435, 2)
    mined = reader.transaction()
    assert mined.txid in bump.txids
    header = Header(1, BlockHash(""), bump.root, 0, 0, 0)
    assert check_included(mined.raw, bump.branch(mined.txid), header) == mined.txid


@pytest.mark.parametrize("vector", TSC)
def test_published_tsc_proofs(vector: dict[str, Any]) -> None:
    header = Header.parse(bytes.fromhex(vector["header"]))
    proof = TscProof.parse(vector["proof"])
    proof.check_target(header)
    assert proof.branch.root(proof.txid) == header.merkle_root
    with pytest.raises(BadProof, match="is not that of"):
        proof.check_target(replace(header, nonce=9))
    by_root = vector["proof"] | {"targetType": "merkleRoot", "target": header.merkle_root}
    TscProof.parse(by_root).check_target(header)
    with pytest.raises(BadProof, match="do not lead"):
        TscProof.parse(by_root | {"target": "00" * 32})


@pytest.mark.parametrize("vector", VECTORS["node_headers"])
def test_transactions_of_the_test_network(vector: dict[str, Any]) -> None:
    told, raw = vector["answer"], bytes.fromhex(vector["raw"])
    header = Header(
        told["version"],
        told["previousblockhash"],
        told["merkleroot"],
        told["time"],
        int(told["bits"], 16),
        told["nonce"],
    )
    proof = TscProof.parse(vector["proof"])
    proof.check_target(header)
    assert check_included(raw, proof.branch, header, told["num_tx"]) == proof.txid
    whole = TscProof.parse(vector["proof"] | {"txOrId": raw.hex()})
    assert (whole.txid, whole.raw) == (proof.txid, raw)
    with pytest.raises(BadProof, match="not proven"):
        check_included(raw[:-1] + b"\x01", proof.branch, header, told["num_tx"])
    with pytest.raises(BadProof, match="not proven"):
        check_included(raw, replace(proof.branch, index=proof.branch.index ^ 1), header)
    with pytest.raises(BadProof, match="is none in a block of"):
        check_included(raw, proof.branch, header, 3)


# What must be refused


def test_a_list_with_its_end_repeated_is_not_the_block() -> None:
    """CVE-2012-2459: the same root from another list."""
    leaves = txids(6)
    repeated = [*leaves, leaves[4], leaves[5]]
    assert slow_levels(repeated)[-1] == slow_levels(leaves)[-1]
    with pytest.raises(BadProof, match="equals its sibling"):
        root_of(repeated)
    with pytest.raises(BadProof, match="at least one"):
        root_of([])
    with pytest.raises(BadProof, match="equals its sibling"):
        branch_of(repeated, 7).root(leaves[5])


def test_a_proof_behind_the_last_transaction_is_refused() -> None:
    leaves = txids(3)
    good = branch_of(leaves, 2)
    assert good.siblings[0] is None
    doubled = Branch(3, (node_of(leaves[2]), good.siblings[1]))
    with pytest.raises(BadProof, match="equals its sibling"):
        doubled.root(leaves[2])
    with pytest.raises(BadProof, match="no node to be repeated"):
        Branch(3, good.siblings).root(leaves[2])


def test_what_stands_behind_a_repeated_node_is_refused() -> None:
    node = bytes(32)
    with pytest.raises(BadProof, match="behind the one that was the last"):
        Branch(0b100, (None, node, node)).root(txids(1)[0])
    with pytest.raises(BadProof, match="no node to be repeated"):
        Branch(0, (None,)).root(txids(1)[0])


def test_nodes_do_not_pass_for_transactions() -> None:
    """CVE-2017-12842: 64 bytes are two nodes, or a transaction."""
    leaves = txids(4)
    levels = slow_levels(leaves)
    inner = levels[0][0] + levels[0][1]
    header = replace(GENESIS, merkle_root=root_of(leaves))
    with pytest.raises(BadProof, match="two nodes as well"):
        check_included(inner, Branch(0, (levels[1][1],)), header)
    # The other way round: 64 bytes in the block as a transaction, their second half the id of a forged one.
    forged = b"a payment that was never made"
    fake = levels[0][2] + sha256d(forged)
    block = [leaves[0], Txid(hash_text(sha256d(fake)))]
    header = replace(GENESIS, merkle_root=root_of(block))
    deeper = Branch(0b11, (fake[:32], node_of(leaves[0])))
    assert deeper.root(Txid(hash_text(sha256d(forged)))) == header.merkle_root
    with pytest.raises(BadProof, match="none in a block of 2"):
        check_included(forged, deeper, header, 2)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"index": 32}, "does not fit 5 levels"),
        ({"index": -1}, "does not fit"),
        ({"index": "12"}, "whole number"),
        ({"index": True}, "whole number"),
        ({"index": None}, "whole number"),
        ({"nodes": None}, "list of texts"),
        ({"nodes": [1]}, "list of texts"),
        ({"nodes": ["xy"]}, "is not a hash"),
        ({"nodes": ["AB" * 32] * 5}, "is not a hash"),
        ({"nodes": ["**"] * 5}, "is not a hash"),
        ({"nodes": ["*"] * 5}, "no node to be repeated"),
        ({"nodes": ["ab" * 32] * 33}, "33 levels"),
        ({"txOrId": 5}, "not a text"),
        ({"txOrId": "ab"}, "neither an id nor a transaction"),
        ({"txOrId": "zz" * 32}, "is not a hash"),
        ({"txOrId": "zz" * 40}, "neither an id nor a transaction"),
        ({"target": None}, "not a text"),
        ({"target": "ab"}, "is not a hash"),
        ({"targetType": "header"}, "no header of 80 bytes"),
        ({"targetType": "header", "target": "xy"}, "no header of 80 bytes"),
        ({"targetType": "height"}, "is unknown"),
        ({"targetType": []}, "is unknown"),
        ({"proofType": "tree"}, "only single branches"),
        ({"composite": True}, "only single branches"),
        ({"composite": 0}, "only single branches"),
    ],
)
def test_malformed_tsc_proofs(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(BadProof, match=why):
        TscProof.parse(TSC[0]["proof"] | wrong)


@pytest.mark.parametrize("wrong", [None, [], "text", [TSC[0]["proof"]]])
def test_a_tsc_proof_is_an_object(wrong: object) -> None:
    with pytest.raises(BadProof, match="an object"):
        TscProof.parse(wrong)


A, B = "aa" * 32, "bb" * 32


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "end too early"),
        ("xy", "not hex"),
        ("fe8a6a0c00", "end too early"),
        ("fd0100" + "01" + "01" + "0002" + A, "shortest form"),
        ("01" + "00", "0 levels"),
        ("01" + "21", "33 levels"),
        ("01" + "01" + "00", "do not lead to one root"),
        ("01" + "01" + "02" + "0002" + A, "end too early"),
        ("01" + "01" + "02" + "0002" + A + "0100" + B + "00", "left over"),
        ("01" + "01" + "02" + "0002" + A + "0000" + B, "twice or outside"),
        ("01" + "01" + "02" + "0002" + A + "0200" + B, "twice or outside"),
        ("01" + "01" + "02" + "0003" + A + "0100" + B, "unknown flags 03"),
        ("01" + "01" + "02" + "0002" + A + "0100" + A, "equals its sibling"),
        ("01" + "01" + "02" + "0002" + A + "0101", "no node to be repeated at 1"),
        ("01" + "01" + "02" + "0001" + "0102" + A, "no node to be repeated at 0"),
        ("01" + "02" + "01" + "0002" + A + "01" + "0100" + B, "the sibling of 0 is missing"),
        ("01" + "02" + "02" + "0002" + A + "0100" + B + "00", "the sibling of 0 is missing"),
        ("01" + "02" + "02" + "0002" + A + "0100" + B + "02" + "0000" + A + "0100" + B, "another node at 0"),
        (
            "01" + "02" + "04" + "0002" + A + "0100" + B + "0202" + B + "0301" + "01" + "0101",
            "no node to be repeated at 1",
        ),
        ("01" + "02" + "03" + "0002" + A + "0200" + B + "0301" + "00", "the sibling of 0 is missing"),
        (
            "01" + "03" + "02" + "0402" + A + "0501" + "01" + "0300" + B + "01" + "0000" + B,
            "behind the one that was the last",
        ),
        (
            "01" + "03" + "02" + "0402" + A + "0501" + "01" + "0301" + "01" + "0100" + B,
            "another node at 1",
        ),
    ],
)
def test_malformed_paths(text: str, why: str) -> None:
    with pytest.raises(BadProof, match=why):
        Bump.from_hex(text)


def test_a_path_of_too_many_leaves_costs_no_memory() -> None:
    with pytest.raises(BadProof, match="end too early"):
        Bump.from_hex("01" + "20" + "ffffffffffffffffff" + "00")


@given(st.binary(max_size=200))
def test_any_bytes_are_no_path_or_one(raw: bytes) -> None:
    try:
        bump = Bump.parse(raw)
    except BadProof:
        return
    assert bytes(bump) == raw


def test_a_transaction_is_read_whole() -> None:
    raw = bytes.fromhex(VECTORS["node_headers"][0]["raw"])
    assert parse_transaction(raw).raw == raw
