"""Several sources as one. Reading: the first that is believed and answers. Sending: one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from mesh import logs, telemetry
from mesh.clock import Clock
from services.chain.app.headers import checked_header
from services.chain.app.ports import Broadcast, Broadcaster, ChainReader, Found, Sent
from services.chain.app.trust import LAGGED_S, LIED_S, UNSEEN_S, Trust
from services.chain.domain.consensus import Consensus
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.header import Block
from services.chain.domain.scan import Findings, Interest
from services.chain.domain.values import BlockHash, Outpoint, Txid
from services.chain.domain.wire import Output, txid_of

log = logs.logger(__name__)

Result = TypeVar("Result")

UNSEEN_MAX = 3
"""Transactions that a broadcaster may say yes to without anybody seeing them, before it is left out."""
SEEN_WITHIN_S = 30.0
"""Time in which others must see what a broadcaster took."""
ACCEPTED_KEPT = 10_000

_sent = telemetry.counter(
    "chain.sent",
    "What was sent, by whom, with what outcome.",
    unit="{transaction}",
    by=(
        "broadcaster",
        "outcome",
    ),
)


class Readers:
    """`ChainReader` over several, the preferred one first."""

    def __init__(self, readers: Mapping[str, ChainReader], trust: Trust, consensus: Consensus) -> None:
        self._readers = readers
        self._trust = trust
        self._consensus = consensus
        self._turn = 0
        self._told = ""

    async def best(self) -> BlockHash:
        """Hash of a best block. They take turns: who is ahead is followed, who is behind is found out."""
        self._turn += 1

        name, found = await self._ask_any(lambda reader: reader.best(), self._turn)
        self._told = name
        return found

    async def header(self, block_hash: BlockHash) -> Found | None:
        """A header, or None when nobody who answers knows the block."""

        async def header(reader: ChainReader) -> Found | None:
            found = await reader.header(block_hash)
            return None if found is None else checked_header(found, block_hash, self._consensus)

        return (await self._find(header))[1]

    async def hash_at(self, height: int) -> BlockHash | None:
        """The block at this height of the best chain."""

        async def hash_at(reader: ChainReader) -> BlockHash | None:
            found = await reader.hash_at(height)
            if height == 0 and found not in (None, self._consensus.genesis.hash):
                raise SourceLies(f"its genesis block is not that of {self._consensus.network}")
            return found

        return (await self._find(hash_at))[1]

    async def findings(self, block: Block, interest: Interest) -> Findings:
        """What in this block concerns us."""
        return await self._ask(lambda reader: reader.findings(block, interest))

    async def overlooked(
        self, blocks: Sequence[Block], interest: Interest, *, afresh: bool
    ) -> Mapping[BlockHash, Findings]:
        """What in these blocks may not have been told when they were read."""
        return await self._ask(lambda reader: reader.overlooked(blocks, interest, afresh=afresh))

    async def pending(self, interest: Interest) -> Sequence[Txid]:
        """Transactions that wait to be mined and may concern us."""
        return await self._ask(lambda reader: reader.pending(interest))

    async def waiting(self, txids: Sequence[Txid]) -> set[Txid]:
        """Those of the transactions that wait to be mined."""
        return await self._ask(lambda reader: reader.waiting(txids))

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        """Raw transactions, those that it knows."""
        return await self._ask(lambda reader: reader.transactions(txids))

    async def unspent(self, outpoints: Sequence[Outpoint]) -> set[Outpoint]:
        """Those of the outputs that are there and that no transaction spends."""
        return await self._ask(lambda reader: reader.unspent(outpoints))

    def blame(self, why: str, *, lied: bool) -> None:
        """Leaves out who told the best block last; if it is only behind, where another can be asked."""
        name = self._told
        others = any(self._trust.has(other) for other in self._readers if other != name)
        if name and (lied or others):
            self._trust.lose(name, why, LIED_S if lied else LAGGED_S)

    async def _ask(self, what: Callable[[ChainReader], Awaitable[Result]]) -> Result:
        """The first answer that holds. Raises NodeUnavailable."""
        return (await self._ask_any(what, 0))[1]

    async def _ask_any(
        self, what: Callable[[ChainReader], Awaitable[Result]], first: int
    ) -> tuple[str, Result]:
        """The first answer that holds, from the source at place `first` on, and whose it is."""
        problem = NodeUnavailable("no source of the chain is believed now")
        names = list(self._readers)
        for place in range(first, first + len(names)):
            name = names[place % len(names)]
            if not self._trust.has(name):
                continue
            try:
                answer = await what(self._readers[name])
            except SourceLies as lie:
                self._trust.lose(name, lie.message, LIED_S)
                problem = lie
            except NodeUnavailable as silent:
                self._trust.failed(name, silent.message)
                problem = silent
            else:
                self._trust.answered(name)
                return name, answer
        raise problem

    async def _find(
        self, what: Callable[[ChainReader], Awaitable[Result | None]]
    ) -> tuple[str, Result | None]:
        """The first that is found, and whose it is; None when who answers does not have it."""
        answered: set[str] = set()
        name = ""
        for place in range(len(self._readers)):
            name, found = await self._ask_any(what, place)
            if found is not None or name in answered:
                return name, found
            answered.add(name)
        return name, None


class Broadcasters:
    """`Broadcaster` over several, the preferred one first; who is not believed comes last.

    A yes of one is enough, until the transaction is to be sent again: then nobody has seen it, whoever said
    yes counts as not to be believed, and all are sent to. A no is believed only when all say it: whoever is
    told that a payment can never be mined would have it made again.
    """

    def __init__(self, broadcasters: Mapping[str, Broadcaster], trust: Trust, clock: Clock) -> None:
        self._broadcasters = broadcasters
        self._trust = trust
        self._clock = clock
        self._accepted: dict[Txid, dict[str, float]] = {}
        self._unseen: dict[str, set[Txid]] = {name: set() for name in broadcasters}

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        """Sends a transaction."""
        txid = txid_of(raw)
        again = self._accepted.pop(txid, dict[str, float]())
        for name, accepted_s in again.items():
            if self._clock.monotonic_s() - accepted_s >= SEEN_WITHIN_S:
                self._not_seen(name, txid)
        outcomes: list[Sent] = []
        for name in sorted(self._broadcasters, key=lambda name: not self._trust.has(name)):
            sent = await self._broadcasters[name].send(raw, spent)
            outcomes.append(Sent(sent.outcome, f"{name}: {sent.reason}"))
            self._note(name, txid, sent)
            if sent.outcome is Broadcast.ACCEPTED and not again:
                break
        return _together(outcomes)

    async def ask(self, txid: Txid) -> Sent:
        """What is known of a transaction that was sent."""
        outcomes: list[Sent] = []
        for name, broadcaster in self._broadcasters.items():
            said = await broadcaster.ask(txid)
            outcomes.append(Sent(said.outcome, f"{name}: {said.reason}"))
            if said.outcome is Broadcast.ACCEPTED:
                break
        return _together(outcomes)

    def _note(self, name: str, txid: Txid, sent: Sent) -> None:
        _sent.add(1, {"broadcaster": name, "outcome": sent.outcome})
        if sent.outcome is Broadcast.ACCEPTED:
            self._accepted.setdefault(txid, {})[name] = self._clock.monotonic_s()
            while len(self._accepted) > ACCEPTED_KEPT:
                del self._accepted[next(iter(self._accepted))]
        if sent.outcome is not Broadcast.UNKNOWN and self._trust.has(name):
            self._trust.answered(name)

    def _not_seen(self, name: str, txid: Txid) -> None:
        unseen = self._unseen[name]
        unseen.add(txid)
        log.warning("said yes to what nobody sees", broadcaster=name, txid=txid)
        others = any(self._trust.has(other) for other in self._broadcasters if other != name)
        if len(unseen) >= UNSEEN_MAX and others:
            self._trust.lose(name, f"{len(unseen)} transactions that it took were seen by nobody", UNSEEN_S)
            unseen.clear()


_CERTAINTY = (
    Broadcast.CONTESTED,
    Broadcast.ACCEPTED,
    Broadcast.UNKNOWN,
    Broadcast.REFUSED,
    Broadcast.REJECTED,
)


def _together(outcomes: Sequence[Sent]) -> Sent:
    """What several come to: a rival is known, or one has it, or it is not certain; else all say no."""
    outcome = min((sent.outcome for sent in outcomes), key=_CERTAINTY.index, default=Broadcast.UNKNOWN)
    return Sent(outcome, "; ".join(sent.reason for sent in outcomes)[:1000])
