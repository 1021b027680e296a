"""Looking for what concerns us in transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from services.chain.domain.blocks import outlines
from services.chain.domain.header import Header
from services.chain.domain.keys import KeyPath
from services.chain.domain.merkle import BadProof, root_over
from services.chain.domain.values import Outpoint, Sats, Txid
from services.chain.domain.wire import (
    HEADER_BYTES,
    BadBytes,
    Transaction,
    hash_bytes,
    hash_text,
    parse_transaction,
    sha256d,
)


@dataclass(frozen=True, slots=True)
class Interest:
    """What concerns us: payments to watched scripts, open transactions of ours, who else spends our coins.

    `scripts` are those of all our money, so that an index can be asked for what touches them.
    """

    watched: Mapping[bytes, KeyPath]
    own: Collection[Txid]
    coins: Collection[Outpoint]
    scripts: Collection[bytes]


@dataclass(frozen=True, slots=True)
class Payment:
    """An output that pays one of the watched scripts."""

    outpoint: Outpoint
    sats: Sats
    path: KeyPath
    coinbase: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """A coin of ours was spent by a transaction that we do not know under this id."""

    outpoint: Outpoint
    txid: Txid


@dataclass(slots=True)
class Findings:
    """What was found."""

    payments: list[Payment] = field(default_factory=list)
    ours: list[Txid] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


def scan(transactions: Iterable[Transaction], interest: Interest) -> Findings:
    """Payments to watched scripts, transactions of our own, and others that spend our coins."""
    found, watched = Findings(), interest.watched
    for tx in transactions:
        found.payments += (
            Payment(Outpoint(tx.txid, vout), output.sats, watched[output.script], tx.is_coinbase)
            for vout, output in enumerate(tx.outputs)
            if output.script in watched and output.sats > 0
        )
        if tx.txid in interest.own:
            found.ours.append(tx.txid)
        else:
            found.conflicts += (Conflict(point, tx.txid) for point in tx.spends if point in interest.coins)
    return found


def scan_block(raw: bytes, header: Header, interest: Interest) -> Findings:
    """`scan` over a raw block, which must be the one of this header. Raises BadBytes, BadProof."""
    if raw[:HEADER_BYTES] != bytes(header):
        raise BadBytes("the block has another header")
    own, coins = set(map(hash_bytes, interest.own)), set(map(bytes, interest.coins))
    watched = interest.watched.keys()
    nodes: list[bytes] = []
    ours: list[bytes] = []
    for tx in outlines(raw):
        node = sha256d(tx.raw)
        nodes.append(node)
        if node in own or not coins.isdisjoint(tx.points) or not watched.isdisjoint(tx.scripts):
            ours.append(tx.raw)
    if hash_text(root_over(nodes)) != header.merkle_root:
        raise BadProof("the transactions are not those of the header")
    return scan(map(parse_transaction, ours), interest)
