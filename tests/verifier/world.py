"""A round that was played in a real ledger, its record in a transaction, and a small chain that has both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from services.chain.app.ports import Found
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.header import Header, meets_target
from services.chain.domain.keys import RECORD, KeyRing
from services.chain.domain.record_outputs import record_output
from services.chain.domain.values import BlockHash, Network, Outpoint, Sats, Txid
from services.chain.domain.wire import Output, Spent, assemble, hash_text, parse_transaction, sha256d
from services.ledger.domain.record_json import encode
from services.ledger.domain.rounds import RoundState
from services.rounds.domain import values as rounds
from services.rounds.domain.record import canonical, result_record
from tests.chain.world import SEED
from tests.ledger.played import play, recorded
from verifier.chain import Asked
from verifier.findings import Findings
from verifier.rounds import Export, Seen, verify_round

SIGNER = KeyRing(SEED, Network.REGTEST).key(RECORD)
ADDRESS = SIGNER.address(Network.REGTEST)
FORGER = KeyRing(SEED[::-1], Network.REGTEST).key(RECORD)
BITS = 0x207FFFFF
ANCHOR_HEIGHT, MINED_HEIGHT = 5, 7
OTHER_TXID = Txid("ab" * 32)


@cache
def exported(seed: int = 3) -> bytes:
    """The public record of a round as the ledger gives it."""
    return encode(recorded(play(seed, state=RoundState.DISTRIBUTED)))


def mined(parent: str, root: str, time_s: int) -> Header:
    """A header with its proof of work, as easy as on regtest."""
    for nonce in range(1_000):
        header = Header(1, BlockHash(parent), root, time_s, BITS, nonce)
        if meets_target(header.hash, BITS):
            return header
    raise AssertionError("no nonce found")


@dataclass
class Chain:
    """Eight blocks of regtest; the record's transaction comes into the last but one."""

    raw: dict[Txid, bytes] = field(default_factory=dict)
    headers: list[Header] = field(default_factory=lambda: [CONSENSUS[Network.REGTEST].genesis])
    proofs: dict[Txid, Any] = field(default_factory=dict)
    orphans: dict[BlockHash, Found] = field(default_factory=dict)

    def extend(self, root: str = "cd" * 32) -> Header:
        self.headers.append(mined(self.headers[-1].hash, root, 1_800_000_000 + len(self.headers)))
        return self.headers[-1]

    def carry(self, script: bytes, neighbour: bytes = b"\x11" * 32) -> Txid:
        """A transaction with this output, in a new block beside another one."""
        spent = Spent(Outpoint(OTHER_TXID, 0), Sats(1), b"")
        outputs = [Output(Sats(0), script), Output(Sats(900), SIGNER.script)]
        raw = assemble([spent], [b"\x51"], outputs)
        txid = parse_transaction(raw).txid
        root = hash_text(sha256d(neighbour + bytes.fromhex(txid)[::-1]))
        while len(self.headers) < MINED_HEIGHT:
            self.extend()
        block = self.extend(root)
        self.raw[txid] = raw
        self.proofs[txid] = {
            "index": 1,
            "txOrId": txid,
            "target": block.hash,
            "nodes": [hash_text(neighbour)],
        }
        self.extend()
        return txid

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        return {txid: self.raw[txid] for txid in txids if txid in self.raw}

    async def proof(self, txid: Txid) -> object | None:
        return self.proofs.get(txid)

    async def header(self, block_hash: BlockHash) -> Found | None:
        for height, header in enumerate(self.headers):
            if header.hash == block_hash:
                return Found(header, height, len(self.headers) - height)
        return self.orphans.get(block_hash)

    async def hash_at(self, height: int) -> BlockHash | None:
        return self.headers[height].hash if height < len(self.headers) else None


@dataclass
class World:
    """A round on chain and its export; each may be changed before it is looked at."""

    chain: Chain
    export: bytes
    payload: dict[str, Any]
    txid: Txid = OTHER_TXID

    @classmethod
    def of(cls, seed: int = 3) -> World:
        """As it is when nobody cheats, before it is written."""
        chain = Chain()
        while len(chain.headers) < MINED_HEIGHT:
            chain.extend()
        export = exported(seed)
        return cls(chain, export, payload_of(export, chain.headers[ANCHOR_HEIGHT].hash))

    def write(
        self, change: Callable[[bytes], bytes] = lambda script: script, *, signer: Any = SIGNER
    ) -> World:
        """Puts the payload on chain, as the chain service does."""
        payload = canonical(self.payload).encode()
        address = signer.address(Network.REGTEST)
        script = record_output(self.payload["round"]["id"], payload, address, signer.sign_message)
        self.txid = self.chain.carry(change(script))
        return self

    def edit(self, change: Callable[[dict[str, Any]], object]) -> World:
        """Changes the export."""
        value = json.loads(self.export)
        change(value)
        self.export = canonical(value).encode()
        return self

    async def verify(
        self, *, signer: str = ADDRESS, user: str = "", export: bool = True
    ) -> tuple[Findings, Seen]:
        """What the verifier finds."""
        findings, asked = Findings(), Asked(self.txid, Network.REGTEST, signer)
        given = Export(self.export, "round.json") if export else None
        return findings, await verify_round(self.chain, asked, given, user, findings)


def payload_of(export: bytes, anchor: str) -> dict[str, Any]:
    """What the rounds service writes of this round, through its own code."""
    ours = json.loads(export)
    sums = ours["sums"]
    paid = tuple(rounds.Payout(rank, meme, user, sats) for rank, meme, user, sats in ours["payouts"])
    digest = hashlib.sha256(export).hexdigest()
    played = rounds.Round(
        id=ours["round"]["id"],
        number=12,
        state=rounds.State.CALCULATING,
        rules=rounds.Rules(**ours["rules"]),
        timing=rounds.Timing(),
        opens_after_ns=rounds.InstantNs(0),
        entries=tuple(
            rounds.Entry(entry["meme"], entry["creator"], entry["quality_ppm"], rounds.InstantNs(0))
            for entry in ours["entries"]
        ),
        anchor=rounds.Anchor(ANCHOR_HEIGHT, anchor),
        starts_at_ns=rounds.InstantNs(int(ours["round"]["starts_at_ns"])),
        locks_at_ns=rounds.InstantNs(int(ours["round"]["locks_at_ns"])),
    )
    tally = tuple(
        rounds.MemeTally(
            meme_id=entry["meme"],
            paid_seconds=entry["paid_seconds"],
            takings_sats=entry["takings"],
            fee_sats=entry["shares"]["fee"],
            creator_sats=entry["shares"]["creator"],
            owner_sats=rounds.Sats(sum(part["paid"] for part in entry["owners"])),
            pool_sats=entry["shares"]["pool"],
            scored_seconds=entry["scored_seconds"],
            viewers=entry["viewers"],
            first_view_ns=rounds.InstantNs(int(entry["first_view_ns"])) if entry["first_view_ns"] else None,
        )
        for entry in ours["entries"]
    )
    distribution = rounds.Distribution(sums["carried_in"], sums["pool"], paid, sums["carried_out"], digest)
    value: dict[str, Any] = json.loads(result_record(played, tally, distribution))
    return value
