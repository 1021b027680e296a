"""Where a 1-sat output comes from: its way back through raw transactions to its origin.

The rule is that of ordinal theory as 1Sat uses it (shruggr/1sat-indexer): satoshis keep their order from
inputs to outputs, fees last, and an output of one satoshi inherits from the input of one satoshi at the same
position. Without such an input it is an origin itself. Inputs and outputs without satoshis take no position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.chain.domain.bitcom import APP
from services.chain.domain.inscriptions import Inscription, read_inscription
from services.chain.domain.scripts import BadScript
from services.chain.domain.values import MemeId, Outpoint, Txid
from services.chain.domain.wire import BadBytes, Output, Transaction, parse_transaction

STEPS_MAX = 1_000
READS_MAX = 10_000


class RawTransactions(Protocol):
    """Where raw transactions come from. Nothing it says is believed that its hash does not prove."""

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        """Those of the transactions that it knows. Raises NodeUnavailable."""
        ...


class Flaw(StrEnum):
    """Why no origin was found. MISSING and TOO_FAR say nothing against it; the others do."""

    MISSING = "missing"
    TOO_FAR = "too_far"
    WRONG_BYTES = "wrong_bytes"
    NO_OUTPUT = "no_output"
    NOT_ONE_SAT = "not_one_sat"
    NOT_INSCRIBED = "not_inscribed"
    OTHER_ORIGIN = "other_origin"


class OriginUnproved(Exception):  # noqa: N818 - an answer, as failures are
    """The way to the origin is broken."""

    def __init__(self, flaw: Flaw, text: str) -> None:
        super().__init__(text)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of a satoshi: the outpoints that held it, the newest first, the origin last."""

    path: tuple[Outpoint, ...]

    @property
    def origin(self) -> Outpoint:
        """Where it was one satoshi by itself for the first time."""
        return self.path[-1]


async def trace(
    source: RawTransactions,
    outpoint: Outpoint,
    *,
    until: Collection[Outpoint] = (),
    steps_max: int = STEPS_MAX,
    reads_max: int = READS_MAX,
) -> Trace:
    """Goes back to the origin, or to one of the outpoints whose way is known already.

    Raises OriginUnproved, and NodeUnavailable of the source.
    """
    walk = _Walk(source, reads_max)
    if (await walk.output(outpoint)).sats != 1:
        raise OriginUnproved(Flaw.NOT_ONE_SAT, f"{outpoint} has not one satoshi")
    path = [outpoint]
    while path[-1] not in until and (before := await walk.parent(path[-1])) is not None:
        if len(path) == steps_max:
            raise OriginUnproved(Flaw.TOO_FAR, f"{path[-1]} is {steps_max} steps back, and no origin")
        path.append(before)
    return Trace(tuple(path))


async def prove_title(
    source: RawTransactions, meme_id: MemeId, origin: Outpoint, outpoint: Outpoint
) -> tuple[Trace, Inscription]:
    """That the outpoint carries the title that was inscribed at this origin. Raises like `trace`."""
    found = await trace(source, outpoint)
    if found.origin != origin:
        text = f"{outpoint} comes from {found.origin}, not from {origin}"
        raise OriginUnproved(Flaw.OTHER_ORIGIN, text)
    return found, await read_title(source, meme_id, origin)


async def read_title(source: RawTransactions, meme_id: MemeId, origin: Outpoint) -> Inscription:
    """The inscription of this meme's title. Raises OriginUnproved, and NodeUnavailable of the source."""
    output = await read_output(source, origin)
    try:
        found = read_inscription(output.script)
    except BadScript as problem:
        raise OriginUnproved(Flaw.NOT_INSCRIBED, f"{origin}: {problem}") from problem
    if (found.map.get("app"), found.map.get("memeId")) != (APP, meme_id):
        raise OriginUnproved(Flaw.NOT_INSCRIBED, f"{origin} is no title of meme {meme_id}")
    return found


async def read_output(source: RawTransactions, outpoint: Outpoint) -> Output:
    """An output, proved by its transaction's id. Raises OriginUnproved, and NodeUnavailable of the source."""
    return await _Walk(source, 1).output(outpoint)


class _Walk:
    """Reads transactions, each once, up to a number of them."""

    def __init__(self, source: RawTransactions, reads_max: int) -> None:
        self._source = source
        self._reads_left = reads_max
        self._known: dict[Txid, Transaction] = {}

    async def output(self, outpoint: Outpoint) -> Output:
        tx = await self._tx(outpoint.txid)
        if outpoint.vout >= len(tx.outputs):
            raise OriginUnproved(Flaw.NO_OUTPUT, f"{outpoint.txid} has no output {outpoint.vout}")
        return tx.outputs[outpoint.vout]

    async def parent(self, outpoint: Outpoint) -> Outpoint | None:
        """The input of one satoshi at the position of this output; None: it is an origin."""
        tx = await self._tx(outpoint.txid)
        position = sum(one.sats for one in tx.outputs[: outpoint.vout])
        before = 0
        for spent in tx.spends:
            sats = (await self.output(spent)).sats
            if before == position and sats:
                return spent if sats == 1 else None
            before += sats
            if before > position:
                return None
        return None

    async def _tx(self, txid: Txid) -> Transaction:
        if txid not in self._known:
            self._known[txid] = await self._read(txid)
        return self._known[txid]

    async def _read(self, txid: Txid) -> Transaction:
        if not self._reads_left:
            raise OriginUnproved(Flaw.TOO_FAR, f"{txid} is one transaction more than may be read")
        self._reads_left -= 1
        raw = (await self._source.transactions([txid])).get(txid)
        if raw is None:
            raise OriginUnproved(Flaw.MISSING, f"transaction {txid} is not known there")
        try:
            tx = parse_transaction(raw)
        except BadBytes as problem:
            raise OriginUnproved(Flaw.WRONG_BYTES, f"transaction {txid}: {problem}") from problem
        if tx.txid != txid:
            raise OriginUnproved(Flaw.WRONG_BYTES, f"asked for transaction {txid}, got {tx.txid}")
        return tx
