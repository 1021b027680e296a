"""Headers: bytes, work, the rules of a network, and the chain that moves by exact lists."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chain.domain.consensus import (
    AHEAD_MAX_S,
    CONSENSUS,
    DAA_BLOCKS,
    BadHeader,
    Rule,
    median_time_s,
)
from services.chain.domain.header import Block, Header, bits_of, target_of, work_of
from services.chain.domain.headers import WINDOW_BLOCKS, HeaderChain, NotLinked
from services.chain.domain.values import BlockHash, Network
from services.chain.domain.wire import BadBytes
from tests.chain.chainsim import BITS, ground

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "headers.json").read_text())
MAIN, TEST, REGTEST = (CONSENSUS[network] for network in (Network.MAIN, Network.TEST, Network.REGTEST))
NOW_NS = 1_800_000_000 * 10**9


def test_published_headers_have_their_hash_and_work() -> None:
    [genesis] = VECTORS["headers"]
    header = Header.parse(bytes.fromhex(genesis["hex"]))
    assert header == MAIN.genesis
    assert (header.hash, bytes(header).hex(), header.previous_hash) == (genesis["hash"], genesis["hex"], "")
    for vector in VECTORS["node_headers"]:
        told = vector["answer"]
        header = Header(
            told["version"],
            BlockHash(told["previousblockhash"]),
            told["merkleroot"],
            told["time"],
            int(told["bits"], 16),
            told["nonce"],
        )
        assert header.hash == told["hash"]
        assert Header.parse(bytes(header)) == header
        TEST.check_work(header)
        with pytest.raises(BadHeader, match="proof of work"):
            TEST.check_work(replace(header, nonce=header.nonce + 1))


def test_every_network_begins_with_its_genesis_block() -> None:
    assert {network: consensus.genesis.hash for network, consensus in CONSENSUS.items()} == {
        Network.MAIN: "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
        Network.TEST: "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
        Network.REGTEST: "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
    }
    for consensus in CONSENSUS.values():
        consensus.check_start(consensus.genesis, 0)
        other = next(one for one in CONSENSUS.values() if one.genesis != consensus.genesis)
        with pytest.raises(BadHeader):
            consensus.check_start(other.genesis, 0)


@pytest.mark.parametrize("size", [0, 79, 81])
def test_a_header_has_eighty_bytes(size: int) -> None:
    with pytest.raises(BadBytes, match="80 bytes"):
        Header.parse(bytes(size))


@pytest.mark.parametrize(
    ("bits", "target"),
    [
        # Bitcoin Core, src/test/arith_uint256_tests.cpp: bignum_SetCompact.
        (0x01120000, 0x12),
        (0x02123400, 0x1234),
        (0x03123456, 0x123456),
        (0x04123456, 0x12345600),
        (0x05009234, 0x92340000),
        (0x20123456, 0x123456 << 232),
        (0x1D00FFFF, 0xFFFF << 208),
        (0x207FFFFF, 0x7FFFFF << 232),
    ],
)
def test_short_targets_are_read_as_the_node_reads_them(bits: int, target: int) -> None:
    assert target_of(bits) == target
    assert bits_of(target) == bits
    assert work_of(bits) == (1 << 256) // (target + 1)


@pytest.mark.parametrize(
    ("bits", "why"),
    [
        (0, "zero"),
        (0x00123456, "zero"),
        (0x01003456, "zero"),
        (0x04800000, "zero"),
        (0x01FEDCBA, "negative"),
        (0x04923456, "negative"),
        (0xFF123456, "256 bits"),
        (0x21100000, "256 bits"),
    ],
)
def test_impossible_targets_are_refused(bits: int, why: str) -> None:
    with pytest.raises(BadBytes, match=why):
        target_of(bits)
    with pytest.raises(BadHeader, match="proof of work"):
        REGTEST.check_work(replace(REGTEST.genesis, bits=bits))


@given(st.integers(1, (1 << 256) - 1))
def test_a_short_target_is_the_target_without_its_low_bits(target: int) -> None:
    # Slow and obvious: the largest that is not above the target and keeps its highest two bytes.
    kept = target_of(bits_of(target))
    low = max(0, target.bit_length() - 15)
    assert kept <= target
    assert kept >> low == target >> low
    assert bits_of(kept) == bits_of(target)


@given(st.binary(min_size=80, max_size=80))
def test_any_eighty_bytes_are_a_header_and_come_back(raw: bytes) -> None:
    header = Header.parse(raw)
    assert bytes(header) == raw
    with pytest.raises(BadHeader) as problem:
        MAIN.check_work(header)
    assert problem.value.rule is Rule.WORK


def test_targets_easier_than_the_network_and_longer_forms_are_refused() -> None:
    with pytest.raises(BadHeader, match="easier than the network"):
        MAIN.check_work(ground(replace(MAIN.genesis, bits=BITS)))
    longer = ground(replace(REGTEST.genesis, bits=0x2100_7FFF))
    with pytest.raises(BadHeader, match="shortest form"):
        REGTEST.check_work(longer)


def test_a_chain_of_the_main_network_does_not_begin_with_easy_blocks() -> None:
    easy = replace(MAIN.genesis, version=2)
    easy_consensus = replace(MAIN, limit=REGTEST.limit)
    with pytest.raises(BadHeader, match="easier than this chain has been"):
        easy_consensus.check_start(ground(replace(easy, bits=BITS)), 900_000)


# The difficulty rule


class Line:
    """Blocks without work, to ask which bits the next one needs."""

    def __init__(self, time_s: int, bits: int) -> None:
        header = replace(MAIN.genesis, time_s=time_s, bits=bits)
        self.blocks = [Block.first(header, 0, 0)]

    def add(self, seconds: int, bits: int) -> None:
        tip = self.blocks[-1]
        header = replace(tip.header, previous_hash=tip.hash, time_s=tip.mined_at_s + seconds, bits=bits)
        self.blocks.append(tip.next(header, 0))

    def at(self, height: int) -> Block | None:
        return self.blocks[height] if 0 <= height < len(self.blocks) else None

    def next_bits(self) -> int:
        consensus = replace(MAIN, daa_height=0)
        found = consensus.next_bits(self.blocks[-1], self.blocks[-1].mined_at_s + 600, self.at)
        assert found is not None
        return found


def test_the_difficulty_moves_as_in_the_nodes_own_test() -> None:
    vector = VECTORS["difficulty"]
    bits = bits_of(MAIN.limit >> 4)
    line = Line(vector["start_time_s"], bits)
    for _ in range(vector["start_blocks"] - 1):
        line.add(600, bits)
    bits = line.next_bits()
    for seconds in (*[vector["steady_s"][0]] * vector["steady_s"][1], *vector["skewed_s"]):
        line.add(seconds, bits)
        assert line.next_bits() == bits
    for seconds, blocks, expected in vector["steps"]:
        for _ in range(blocks):
            line.add(seconds, bits)
            bits = line.next_bits()
        assert expected is None or f"{bits:08x}" == expected


def slow_next_bits(blocks: Sequence[Block]) -> int:
    """The rule as its specification says it, over the whole list of blocks."""

    def suitable(last: int) -> Block:
        return sorted(blocks[last - 2 : last + 1], key=lambda block: block.mined_at_s)[1]

    first, last = suitable(len(blocks) - 1 - 144), suitable(len(blocks) - 1)
    work = sum(work_of(block.header.bits) for block in blocks[first.height + 1 : last.height + 1])
    took_s = min(2 * 86_400, max(43_200, last.mined_at_s - first.mined_at_s))
    projected = work * 600 // took_s
    return bits_of(min(MAIN.limit, (2**256 - projected) // projected))


@given(st.lists(st.integers(-3000, 9000).filter(bool), min_size=DAA_BLOCKS + 5, max_size=DAA_BLOCKS + 30))
def test_the_difficulty_is_that_of_a_slow_model(steps: list[int]) -> None:
    line = Line(1_700_000_000, 0x1802_0000)
    # Times that differ, so that the one in the middle is no matter of choice.
    time_s, taken = 1_700_000_000, {1_700_000_000}
    for step in steps:
        time_s += step
        while time_s in taken:
            time_s += 1
        taken.add(time_s)
        line.add(time_s - line.blocks[-1].mined_at_s, 0x1802_0000 + abs(step))
    assert line.next_bits() == slow_next_bits(line.blocks)


def test_testnet_has_easy_blocks_after_twenty_minutes_and_regtest_never_changes() -> None:
    line = Line(1_700_000_000, 0x1802_0000)
    for _ in range(DAA_BLOCKS):
        line.add(600, 0x1802_0000)
    consensus, tip = replace(TEST, daa_height=0), line.blocks[-1]
    assert consensus.next_bits(tip, tip.mined_at_s + 1_201, line.at) == 0x1D00FFFF
    assert consensus.next_bits(tip, tip.mined_at_s + 1_200, line.at) == line.next_bits()
    assert REGTEST.next_bits(tip, tip.mined_at_s + 1_201, line.at) == tip.header.bits
    # Before the rule, and with too few blocks, the bound has to do.
    assert MAIN.next_bits(tip, tip.mined_at_s, line.at) is None
    assert replace(MAIN, daa_height=0).next_bits(line.blocks[145], 0, line.at) is None
    assert replace(MAIN, daa_height=0).next_bits(line.blocks[146], 0, line.at) is not None


# The chain


def grown(chain: HeaderChain, count: int, *, name: int = 0, at: int | None = None) -> list[Header]:
    """Headers that follow the tip, or the block at a height."""
    parent = chain.tip if at is None else chain.at(at)
    assert parent is not None
    found: list[Header] = []
    below, time_s = parent.hash, parent.mined_at_s
    for place in range(count):
        found.append(ground(Header(name, below, f"{place:064x}", time_s + 600 * (place + 1), BITS, 0)))
        below = found[-1].hash
    return found


def chain_of(count: int) -> HeaderChain:
    chain = HeaderChain.begin([REGTEST.genesis], 0, REGTEST, 0)
    if count > 1:
        chain.apply(chain.plan(grown(chain, count - 1), NOW_NS))
    return chain


def test_the_header_chain_moves_by_exact_lists() -> None:
    chain = chain_of(5)
    before = chain.blocks
    branch = grown(chain, 4, name=1, at=2)
    switch = chain.plan(branch, NOW_NS)
    assert switch.orphaned == (before[4], before[3])
    assert [block.header for block in switch.connected] == branch
    assert chain.blocks == before
    chain.apply(switch)
    assert chain.blocks == (*before[:3], *switch.connected)
    assert [block.height for block in chain.blocks] == list(range(7))
    assert (chain.confirmations(6), chain.confirmations(3), chain.confirmations(0)) == (1, 4, 0)
    assert chain.get(before[4].hash) is None
    assert int(chain.tip.work, 16) == sum(work_of(block.header.bits) for block in chain.blocks)


def test_the_header_chain_refuses_what_is_not_linked() -> None:
    with pytest.raises(NotLinked):
        HeaderChain([], REGTEST)
    chain = chain_of(4)
    with pytest.raises(NotLinked):
        HeaderChain([chain.blocks[0], chain.blocks[2]], REGTEST)
    for branch in ([], grown(chain, 3)[1:]):
        with pytest.raises(NotLinked):
            chain.plan(branch, NOW_NS)
    one, _, three = grown(chain, 3)
    with pytest.raises(BadHeader, match="link"):
        chain.plan([one, three], NOW_NS)
    switch = chain.plan(grown(chain, 2, name=1, at=2), NOW_NS)
    chain.apply(switch)
    with pytest.raises(NotLinked):
        chain.apply(switch)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"bits": 0x207FFFFE}, Rule.DIFFICULTY),
        ({"bits": 0x1D00FFFF}, Rule.WORK),
        ({"time_s": 1}, Rule.MEDIAN_TIME),
        ({"time_s": NOW_NS // 10**9 + AHEAD_MAX_S + 1}, Rule.AHEAD),
        ({"previous_hash": BlockHash("ab" * 32)}, Rule.LINK),
    ],
)
def test_a_header_that_breaks_a_rule_changes_nothing(wrong: dict[str, object], rule: Rule) -> None:
    chain = chain_of(20)
    before = chain.blocks
    good, bad = grown(chain, 2)
    bad = replace(bad, **wrong)  # type: ignore[arg-type]  # one field, of its own type
    if rule is not Rule.WORK:
        bad = ground(bad)
    with pytest.raises(BadHeader) as problem:
        chain.plan([good, bad], NOW_NS)
    assert (problem.value.rule, chain.blocks) == (rule, before)


def test_the_time_limits_are_exact() -> None:
    chain = chain_of(20)
    median_s = statistics.median_low(block.mined_at_s for block in chain.blocks[-11:])
    [header] = grown(chain, 1)
    for time_s, good in (
        (median_s, False),
        (median_s + 1, True),
        (NOW_NS // 10**9 + AHEAD_MAX_S, True),
        (NOW_NS // 10**9 + AHEAD_MAX_S + 1, False),
    ):
        tried = ground(replace(header, time_s=time_s))
        if good:
            chain.plan([tried], NOW_NS)
        else:
            with pytest.raises(BadHeader):
                chain.plan([tried], NOW_NS)


def test_the_median_is_not_guessed_where_blocks_are_unknown() -> None:
    whole = chain_of(30)
    part = HeaderChain(whole.blocks[15:], REGTEST)
    assert median_time_s(whole.blocks[4], whole.at) == whole.blocks[2].mined_at_s
    assert median_time_s(whole.blocks[24], part.at) is None
    assert median_time_s(whole.blocks[25], part.at) == whole.blocks[20].mined_at_s


def test_the_header_chain_keeps_a_window() -> None:
    chain = chain_of(WINDOW_BLOCKS)
    chain.apply(chain.plan(grown(chain, 10), NOW_NS))
    assert [b.height for b in chain.trim(4)] == list(range(4))
    assert [b.height for b in chain.trim(300)] == list(range(4, 10))
    assert chain.trim(300) == []
    assert chain.lowest.height == 10
    assert all(b.height == a.height + 1 for a, b in pairwise(chain.blocks))
