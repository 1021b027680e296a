"""Headers as a source tells them, checked before anything is done with them; and the chain of those kept."""

from __future__ import annotations

from mesh import logs, telemetry
from mesh.clock import Clock
from services.chain.app.ports import ChainReader, Found
from services.chain.app.records import Pointer, Records
from services.chain.domain.consensus import DAA_BLOCKS, BadHeader, Consensus, Rule
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.header import Block
from services.chain.domain.headers import WINDOW_BLOCKS, HeaderChain
from services.chain.domain.values import BlockHash

log = logs.logger(__name__)

TIP, SCANNED = "tip", "scanned"
BACKFILL_BLOCKS = DAA_BLOCKS
"""Headers read at the very first start: from the next block on, its difficulty can be checked."""

_lies = telemetry.counter(
    "chain.source.lies", "Things that a source of the chain told and that cannot be true.", unit="{lie}"
)


def lie(detail: str) -> SourceLies:
    """The failure for something that cannot be true; counted and logged."""
    _lies.add(1)
    log.error("a source of the chain lies", detail=detail)
    return SourceLies(detail)


def broken(problem: BadHeader) -> NodeUnavailable:
    """The failure for a header that breaks a rule; one that is ahead of our clock is waited for."""
    return NodeUnavailable(str(problem)) if problem.rule is Rule.AHEAD else lie(str(problem))


async def read_header(node: ChainReader, wanted: BlockHash, consensus: Consensus) -> Found:
    """`checked_header` of one that is asked for. Raises NodeUnavailable when the source does not know it."""
    found = await node.header(wanted)
    if found is None:
        raise NodeUnavailable(f"the node does not know block {wanted}")
    return checked_header(found, wanted, consensus)


def checked_header(found: Found, wanted: BlockHash, consensus: Consensus) -> Found:
    """A header that hashes to what was asked for and has its work; height and the rest are as told.

    Raises SourceLies.
    """
    if found.header.hash != wanted:
        raise lie(f"asked for block {wanted}, told {found.header.hash}")
    try:
        consensus.check_work(found.header)
    except BadHeader as problem:
        raise broken(problem) from problem
    return found


async def load_chain(
    records: Records, node: ChainReader, clock: Clock, consensus: Consensus, scan_from: int
) -> HeaderChain:
    """The chain as it was left; at the very first start, the node's, from `scan_from` (0: its tip) on.

    Raises SourceLies, NodeUnavailable.
    """
    tip = await records.pointers.get(TIP)
    start = BlockHash(tip.value.block_hash) if tip else await _first(node, consensus, scan_from)
    blocks = await _kept(records, start)
    if blocks:
        return HeaderChain(reversed(blocks), consensus)
    chain = await _read_down(node, clock, consensus, start)
    await records.blocks.ensure_all(chain.blocks)
    await records.pointers.ensure(Pointer(SCANNED, start))
    await records.pointers.ensure(Pointer(TIP, start))
    return chain


async def _first(node: ChainReader, consensus: Consensus, scan_from: int) -> BlockHash:
    if await node.hash_at(0) != consensus.genesis.hash:
        raise lie(f"the node's genesis block is not that of {consensus.network}")
    start = await node.hash_at(scan_from) if scan_from else await node.best()
    if start is None:
        raise NodeUnavailable(f"the node has no block at height {scan_from} yet")
    return start


async def _kept(records: Records, tip: BlockHash) -> list[Block]:
    """Blocks that are on record, from the tip down as far as they are needed."""
    scanned = await records.pointers.get(SCANNED)
    blocks: list[Block] = []
    wanted, read = tip, False
    # The genesis block has none before it.
    while wanted and not (read and len(blocks) >= WINDOW_BLOCKS):
        kept = await records.blocks.get(wanted)
        if kept is None:
            break
        blocks.append(kept.value)
        read = read or scanned is None or kept.value.hash == scanned.value.block_hash
        wanted = kept.value.previous_hash
    return blocks


async def _read_down(node: ChainReader, clock: Clock, consensus: Consensus, start: BlockHash) -> HeaderChain:
    """The chain below a block, as far as it is needed to check what comes on top of it."""
    found = [await read_header(node, start, consensus)]
    while (below := found[-1].header.previous_hash) and len(found) < BACKFILL_BLOCKS:
        found.append(await read_header(node, below, consensus))
    lowest = found[-1].height
    if [one.height for one in reversed(found)] != list(range(lowest, lowest + len(found))):
        raise lie(f"the heights of the blocks below {start} do not follow each other")
    try:
        headers = [one.header for one in reversed(found)]
        return HeaderChain.begin(headers, lowest, consensus, clock.now_ns())
    except BadHeader as problem:
        raise broken(problem) from problem
