"""What the chain says: the transaction, who signed it, the block it is in, and the anchor block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.chain.app.ports import Found
from services.chain.domain.aip import verify
from services.chain.domain.consensus import CONSENSUS, BadHeader
from services.chain.domain.keys import BadSignature
from services.chain.domain.merkle import BadProof, check_included
from services.chain.domain.record_outputs import RecordOutput, read_record_output
from services.chain.domain.scripts import BadScript
from services.chain.domain.tsc import TscProof
from services.chain.domain.values import BlockHash, Network, Txid
from services.chain.domain.wire import BadBytes, Transaction, parse_transaction
from verifier.findings import Findings, Unanswered
from verifier.payload import Payload


class Source(Protocol):
    """Where the chain is read from. What it says is proved here; every call raises NodeUnavailable."""

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        """Raw transactions, those that it knows."""
        ...

    async def proof(self, txid: Txid) -> object | None:
        """A TSC proof whose target is the block's hash, as JSON; None: it is in no block."""
        ...

    async def header(self, block_hash: BlockHash) -> Found | None:
        """A header, or None when it does not know the block."""
        ...

    async def hash_at(self, height: int) -> BlockHash | None:
        """The block at this height of its best chain."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be checked. `signer` is the address that must have signed; empty: whoever did is told."""

    txid: Txid
    network: Network
    signer: str = ""


async def read_transaction(source: Source, txid: Txid, findings: Findings) -> Transaction | None:
    """The transaction, if its bytes are its own. Raises Unanswered when the source does not know it."""
    raw = (await source.transactions([txid])).get(txid)
    if raw is None:
        raise Unanswered(f"the source knows no transaction {txid}")
    try:
        tx = parse_transaction(raw)
    except BadBytes as problem:
        findings.add("transaction", flaws=[f"what the source gave is no transaction: {problem}"])
        return None
    flaws = [] if tx.txid == txid else [f"the source gave {tx.txid} instead of {txid}"]
    return tx if findings.add("transaction", f"{txid}, {len(raw)} bytes", flaws) else None


def read_record(tx: Transaction, findings: Findings) -> RecordOutput | None:
    """The record in the transaction, if there is exactly one."""
    found: list[RecordOutput] = []
    reasons: list[str] = []
    for vout, output in enumerate(tx.outputs):
        try:
            found.append(read_record_output(output.script))
        except BadScript as reason:
            if b"\x6a" in output.script[:2]:
                reasons.append(f"output {vout}: {reason}")
    if len(found) != 1:
        flaws = reasons or [f"{len(found)} outputs carry a round's record, one is due"]
        findings.add("layout", flaws=flaws)
        return None
    findings.add("layout", f"one record of round {found[0].round_id}, {len(found[0].payload)} bytes")
    return found[0]


def check_signature(record: RecordOutput, asked: Asked, findings: Findings) -> None:
    """AIP, over everything, by the address that is expected."""
    authored, flaws = record.authored, []
    try:
        verify(authored, asked.network)
    except BadSignature as problem:
        flaws.append(str(problem))
    if not authored.whole:
        flaws.append("it does not cover the whole record")
    if asked.signer and authored.address != asked.signer:
        flaws.append(f"signed by {authored.address}, not by {asked.signer}")
    expected = "as expected" if asked.signer else "whether that is Satreel's is for you to know: --signer"
    findings.add("signature", f"by {authored.address}, {expected}", flaws)


async def check_block(source: Source, tx: Transaction, asked: Asked, findings: Findings) -> int | None:
    """That it is in a block of the best chain; the block's height."""
    try:
        told = await source.proof(tx.txid)
        if told is None:
            findings.add("block", flaws=["the transaction is in no block yet"])
            return None
        proof = TscProof.parse(told)
        block = await source.header(BlockHash(proof.target))
        if block is None:
            findings.add("block", flaws=[f"the source does not know block {proof.target}"])
            return None
        proof.check_target(block.header)
        CONSENSUS[asked.network].check_start(block.header, block.height)
        check_included(tx.raw, proof.branch, block.header)
    except (BadProof, BadHeader) as problem:
        findings.add("block", flaws=[str(problem)])
        return None
    where = f"block {block.height} {block.header.hash}"
    flaws = [] if block.confirmations > 0 else [f"{where} is not on the best chain"]
    said = f"{where}, {block.confirmations} confirmations, Merkle proof of {proof.branch.depth} levels"
    return block.height if findings.add("block", said, flaws) else None


async def check_anchor(
    source: Source, payload: Payload, mined: int | None, asked: Asked, findings: Findings
) -> None:
    """That the anchor block is on the chain, below the record's block."""
    height, claimed = payload.anchor_height, payload.anchor_hash
    flaws = []
    there = await source.hash_at(height)
    if there is None:
        flaws.append(f"the chain has no block {height}")
    elif there != claimed:
        flaws.append(f"block {height} of the chain is {there}, the record says {claimed}: false, or orphaned")
    else:
        flaws += await _header_flaws(source, there, height, asked.network)
    if mined is not None and mined <= height:
        flaws.append(f"the record was mined in block {mined}, which is not above its anchor {height}")
    findings.add("anchor", f"block {height} {claimed}", flaws)


async def _header_flaws(source: Source, block_hash: BlockHash, height: int, network: Network) -> list[str]:
    found = await source.header(block_hash)
    if found is None or (found.header.hash, found.height) != (block_hash, height):
        return [f"the source does not show the header of block {height} {block_hash}"]
    try:
        CONSENSUS[network].check_start(found.header, height)
    except BadHeader as problem:
        return [str(problem)]
    return []
