"""Raw blocks: what the fast walk finds is what reading every transaction whole finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chain.domain.blocks import outlines
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.keys import KeyPath, KeyUse
from services.chain.domain.merkle import BadProof, root_of
from services.chain.domain.scan import Interest, scan, scan_block
from services.chain.domain.values import Network, Outpoint, Sats, Txid
from services.chain.domain.wire import (
    HEADER_BYTES,
    BadBytes,
    ByteReader,
    Output,
    Spent,
    Transaction,
    assemble,
    varint,
)

GENESIS = CONSENSUS[Network.REGTEST].genesis
HEADER = bytes(HEADER_BYTES)
PATH = KeyPath(KeyUse.DEPOSIT, 7)

# Few values each, so that what is looked for is found; scripts with lengths of one, three and five bytes.
points = st.builds(Outpoint, st.sampled_from([Txid(f"{n:064x}") for n in range(3)]), st.integers(0, 2))
scripts = st.one_of(
    st.sampled_from([b"", b"\x51", b"\x51" * 25, b"\x6a" * 0xFD, b"\x6a" * 0x1_0000]), st.binary(max_size=30)
)
outputs = st.builds(Output, st.integers(0, 3).map(Sats), scripts)


@st.composite
def transactions(draw: st.DrawFn) -> bytes:
    spent = [Spent(point, Sats(0), b"") for point in draw(st.lists(points, max_size=4))]
    unlocked = [draw(scripts) for _ in spent]
    return assemble(spent, unlocked, draw(st.lists(outputs, max_size=4)), draw(st.integers(0, 2)))


def block_of(raws: list[bytes], header: bytes = HEADER) -> bytes:
    return header + varint(len(raws)) + b"".join(raws)


def read_whole(block: bytes) -> list[Transaction]:
    reader = ByteReader(block, HEADER_BYTES)
    found = [reader.transaction() for _ in range(reader.varint())]
    reader.end("the block")
    return found


def test_a_block_of_many_transactions() -> None:
    raw = assemble([Spent(Outpoint(Txid("ab" * 32), 1), Sats(0), b"")], [b"\x51"], [Output(Sats(1), b"\x52")])
    found = list(outlines(block_of([raw] * 300)))
    assert found == [(raw, [bytes.fromhex("ab" * 32 + "01000000")], [b"\x52"])] * 300


@given(st.lists(transactions(), max_size=6), st.data())
def test_outlines_are_of_the_transactions_and_broken_blocks_are_refused(
    raws: list[bytes], data: st.DataObject
) -> None:
    block = bytearray(block_of(raws))
    for _ in range(data.draw(st.integers(0, 2), "changed bytes")):
        block[data.draw(st.integers(HEADER_BYTES, len(block) - 1))] = data.draw(
            st.sampled_from([0, 1, 0xFC, 0xFD, 0xFE, 0xFF])
        )
    cut = data.draw(st.sampled_from([0, 0, 0, 1, 5, 40]))
    given_ = bytes(block[: max(HEADER_BYTES, len(block) - cut)]) + data.draw(
        st.sampled_from([b"", b"", b"\0"])
    )
    try:
        whole = read_whole(given_)
    except BadBytes:
        with pytest.raises(BadBytes):
            list(outlines(given_))
        return
    found = list(outlines(given_))
    assert [tx.raw for tx in found] == [tx.raw for tx in whole]
    assert [tx.scripts for tx in found] == [[out.script for out in tx.outputs] for tx in whole]
    coinbase = bytes(32)
    spends = [[point for point in tx.points if point[:32] != coinbase] for tx in found]
    assert spends == [[bytes(point) for point in tx.spends] for tx in whole]


@given(
    st.lists(transactions(), min_size=1, max_size=8, unique=True),
    st.sets(scripts, max_size=3),
    st.sets(points, max_size=3),
    st.sets(st.integers(0, 7), max_size=3),
)
def test_a_block_is_scanned_like_its_transactions(
    raws: list[bytes], watched: set[bytes], coins: set[Outpoint], own: set[int]
) -> None:
    whole = read_whole(block_of(raws))
    ours = [tx.txid for place, tx in enumerate(whole) if place in own]
    interest = Interest(dict.fromkeys(watched, PATH), ours, coins, ())
    header = replace(GENESIS, merkle_root=root_of([tx.txid for tx in whole]))
    block = block_of(raws, bytes(header))
    assert scan_block(block, header, interest) == scan(whole, interest)
    with pytest.raises(BadBytes, match="another header"):
        scan_block(block, replace(header, nonce=1), interest)
    for wrong in (block_of([*raws, raws[0]], bytes(header)), block_of(raws[1:], bytes(header))):
        with pytest.raises(BadProof):
            scan_block(wrong, header, interest)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff" + b"\xff" * 8,
        b"\x01\x01\x00\x00\x00\xff" + b"\xff" * 8 + bytes(100),
        b"\x01\x01\x00\x00\x00\x01" + bytes(36) + b"\xff" + b"\xff" * 8 + bytes(100),
    ],
)
def test_numbers_that_no_bytes_follow_are_refused(body: bytes) -> None:
    found: list[Any] = []
    with pytest.raises(BadBytes, match="too early"):
        found.extend(outlines(HEADER + body))
    assert found == []
