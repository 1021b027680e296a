"""Which headers may follow which: the rules of a network that can be checked without transactions.

As in the node's validation.cpp (ContextualCheckBlockHeader) and pow.cpp (GetNextCashWorkRequired). What
needs blocks that are no longer known is not checked; proof of work and the bound on its target always are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from services.chain.domain.header import Block, Header, bits_of, meets_target, target_of
from services.chain.domain.values import BlockHash, Network
from services.chain.domain.wire import BadBytes

MEDIAN_BLOCKS = 11
AHEAD_MAX_S = 2 * 60 * 60
SPACING_S = 600
DAY_BLOCKS = 144
DAY_MIN_S, DAY_MAX_S = DAY_BLOCKS * SPACING_S // 2, DAY_BLOCKS * SPACING_S * 2
DAA_BLOCKS = DAY_BLOCKS + 3
"""Blocks that must be known, the newest included, for the difficulty that the next one must have."""

At = Callable[[int], Block | None]
"""Looks up a block by height, among those that the next header stands on."""


class Rule(StrEnum):
    """A rule that a header can break."""

    WORK = "proof of work"
    LINK = "link"
    DIFFICULTY = "difficulty"
    MEDIAN_TIME = "median time"
    AHEAD = "ahead of our clock"


class BadHeader(ValueError):  # noqa: N818 - an answer, as failures are
    """The header breaks a rule. With AHEAD it may be good later."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Consensus:
    """The rules of one network.

    `daa_height` is the first block behind which the 144-block difficulty rule (November 2017) holds;
    `easy_after_s` the time without a block after which the easiest target must be used (testnet).
    `start_limit` bounds the target of the block where this service begins to follow: no honest chain is that
    easy any more, and a made-up one would cost its maker at least so much work a block. After `overdue_s`
    without a block it is more likely that we are cut off than that there was none.
    """

    network: Network
    genesis: Header
    limit: int
    start_limit: int
    daa_height: int = 0
    retargets: bool = True
    easy_after_s: int | None = None
    overdue_s: int | None = None

    def check_work(self, header: Header) -> None:
        """The header's own proof of work. Raises BadHeader."""
        try:
            target = target_of(header.bits)
            proven = meets_target(header.hash, header.bits)
        except BadBytes as problem:
            raise BadHeader(Rule.WORK, str(problem)) from problem
        if target > self.limit:
            raise BadHeader(Rule.WORK, f"bits {header.bits:08x} are easier than the network's limit")
        if bits_of(target) != header.bits:
            raise BadHeader(Rule.WORK, f"bits {header.bits:08x} are not in their shortest form")
        if not proven:
            raise BadHeader(Rule.WORK, f"the hash of {header.hash} is above its target")

    def check_start(self, header: Header, height: int) -> None:
        """A header without any that we know below it. Raises BadHeader."""
        self.check_work(header)
        if height == 0:
            if header != self.genesis:
                raise BadHeader(Rule.LINK, f"{header.hash} is not the genesis block of {self.network}")
        else:  # whatever height a source tells
            self._check_not_easy(header)

    def _check_not_easy(self, header: Header) -> None:
        if target_of(header.bits) > self.start_limit:
            raise BadHeader(Rule.DIFFICULTY, f"bits {header.bits:08x} are easier than this chain has been")

    def check_next(self, header: Header, parent: Block, at: At, now_s: int) -> None:
        """A header on its parent, at a time of ours. Raises BadHeader."""
        if header.previous_hash != parent.hash:
            raise BadHeader(Rule.LINK, f"{header.hash} does not follow {parent.hash}")
        self.check_work(header)
        required = self.next_bits(parent, header.time_s, at)
        if required is None:
            self._check_not_easy(header)
        elif header.bits != required:
            raise BadHeader(Rule.DIFFICULTY, f"bits {header.bits:08x} where {required:08x} are due")
        median_s = median_time_s(parent, at)
        if median_s is not None and header.time_s <= median_s:
            raise BadHeader(Rule.MEDIAN_TIME, f"time {header.time_s} is not above the median {median_s}")
        if header.time_s > now_s + AHEAD_MAX_S:
            raise BadHeader(Rule.AHEAD, f"time {header.time_s} is {header.time_s - now_s} s ahead")

    def next_bits(self, parent: Block, time_s: int, at: At) -> int | None:
        """The bits that a block of this time must have on this parent; None when too few blocks are known."""
        if not self.retargets:
            return parent.header.bits
        if parent.height < self.daa_height:
            return None
        if self.easy_after_s is not None and time_s > parent.mined_at_s + self.easy_after_s:
            return bits_of(self.limit)
        first, last = _suitable(parent.height - DAY_BLOCKS, at), _suitable(parent.height, at)
        if first is None or last is None:
            return None
        return bits_of(min(self.limit, _day_target(first, last)))


def _day_target(first: Block, last: Block) -> int:
    """The target under which the work done between two blocks would have taken ten minutes a block."""
    took_s = min(DAY_MAX_S, max(DAY_MIN_S, last.mined_at_s - first.mined_at_s))
    work = (int(last.work, 16) - int(first.work, 16)) * SPACING_S // took_s
    return ((1 << 256) - work) // work


def _suitable(height: int, at: At) -> Block | None:
    """Of a block and the two below it the one with the middle time; of equal times the node's choice."""
    low, middle, high = (at(place) for place in (height - 2, height - 1, height))
    if low is None or middle is None or high is None:
        return None
    # The node's exchanges, in its order: they decide which of equal times is taken.
    if low.mined_at_s > high.mined_at_s:
        low, high = high, low
    if low.mined_at_s > middle.mined_at_s:
        low, middle = middle, low
    if middle.mined_at_s > high.mined_at_s:
        middle = high
    return middle


def median_time_s(parent: Block, at: At) -> int | None:
    """Median of the times of this block and the ten below it; None when they are not known.

    Near the genesis block it is taken of those that there are.
    """
    lowest = max(0, parent.height - MEDIAN_BLOCKS + 1)
    known = [at(height) for height in range(lowest, parent.height + 1)]
    times = sorted(block.mined_at_s for block in known if block is not None)
    return times[len(times) // 2] if len(times) == len(known) else None


def _genesis(time_s: int, bits: int, nonce: int) -> Header:
    root = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    return Header(1, BlockHash(""), root, time_s, bits, nonce)


_MAIN_LIMIT = (1 << 224) - 1
_REGTEST_LIMIT = (1 << 255) - 1

CONSENSUS = {
    Network.MAIN: Consensus(
        Network.MAIN,
        _genesis(1_231_006_505, 0x1D00FFFF, 2_083_236_893),
        limit=_MAIN_LIMIT,
        # A difficulty of 1,000,000,000; it has been above 50,000,000,000 since 2018.
        start_limit=_MAIN_LIMIT // 1_000_000_000,
        daa_height=504_031,
        overdue_s=3 * 60 * 60,
    ),
    Network.TEST: Consensus(
        Network.TEST,
        _genesis(1_296_688_602, 0x1D00FFFF, 414_098_458),
        limit=_MAIN_LIMIT,
        start_limit=_MAIN_LIMIT,
        daa_height=1_188_697,
        easy_after_s=2 * SPACING_S,
    ),
    Network.REGTEST: Consensus(
        Network.REGTEST,
        _genesis(1_296_688_602, 0x207FFFFF, 2),
        limit=_REGTEST_LIMIT,
        start_limit=_REGTEST_LIMIT,
        retargets=False,
    ),
}
