"""Blocks scanned for what concerns us: root checked, payments to us found, others passed over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bsv.transaction import Transaction

from bench.chain.payments import NETWORK, Payer, addresses
from bench.chain.plan import Plan
from bench.chain.samples import SATREEL, SDK, Sample, measured, require_same
from services.chain.domain.addresses import key_hash_of
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.header import Header
from services.chain.domain.keys import KeyPath, KeyUse
from services.chain.domain.merkle import root_of
from services.chain.domain.scan import Interest, scan_block
from services.chain.domain.scripts import p2pkh
from services.chain.domain.values import Outpoint, Txid
from services.chain.domain.wire import hash_text, txid_of, varint

BLOCK = "block scanned, each of its transactions"
# The service watches a script for each user and knows its coins; one transaction in so many pays a user.
WATCHED, COINS = 10_000, 500
PAYS_US_EVERY = 500


@dataclass(frozen=True, slots=True)
class Mined:
    """A block as bytes, its header, and its transactions."""

    raw: bytes
    header: Header
    transactions: list[bytes]


def samples(plan: Plan) -> Iterator[Sample]:
    """The peer gets transactions that are cut apart already; it checks no root."""
    count = plan.block_transactions
    payees = addresses(count)
    block = _block(count, payees)
    watched = {p2pkh(_digest("user", user)[:20]): KeyPath(KeyUse.DEPOSIT, user) for user in range(WATCHED)}
    for number in range(0, count, PAYS_US_EVERY):
        watched[p2pkh(key_hash_of(payees[number], NETWORK))] = KeyPath(KeyUse.DEPOSIT, WATCHED + number)
    coins = frozenset(Outpoint(Txid(hash_text(_digest("ours", n))), 0) for n in range(COINS))
    interest = Interest(watched, frozenset(), coins, ())

    def scan_once(_: int) -> list[tuple[str, int]]:
        found = scan_block(block.raw, block.header, interest)
        return [(one.outpoint.txid, one.outpoint.vout) for one in found.payments]

    def sdk_scan_once(_: int) -> list[tuple[str, int]]:
        return [one for raw in block.transactions for one in _paying(raw, watched)]

    expected = [(txid_of(raw), 0) for raw in block.transactions[::PAYS_US_EVERY]]
    require_same([expected, scan_once(0), sdk_scan_once(0)], "other payments are found")
    for system, once in ((SATREEL, scan_once), (SDK, sdk_scan_once)):
        sample = measured(BLOCK, system, 1, once, bytes_each=len(block.raw))
        each_ms = tuple(one / count for one in sample.each_ms)
        yield replace(sample, operations=sample.operations * count, each_ms=each_ms)


def _paying(raw: bytes, watched: dict[bytes, KeyPath]) -> Iterator[tuple[str, int]]:
    tx = Transaction.from_hex(raw)
    if tx is None:
        raise RuntimeError("bsv-sdk cannot read a transaction")
    txid = tx.txid()
    for vout, output in enumerate(tx.outputs):
        if output.locking_script.serialize() in watched:
            yield txid, vout


def _block(count: int, payees: list[str]) -> Mined:
    payer = Payer(count)
    raws = [payer.pay(coin, [payee]).raw for coin, payee in zip(payer.coins, payees, strict=True)]
    header = replace(CONSENSUS[NETWORK].genesis, merkle_root=root_of([txid_of(raw) for raw in raws]))
    return Mined(bytes(header) + varint(count) + b"".join(raws), header, raws)


def _digest(kind: str, number: int) -> bytes:
    return hashlib.sha256(b"%s %d" % (kind.encode(), number)).digest()
