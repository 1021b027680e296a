"""Sending through WhatsOnChain: the broadcaster in reserve."""

from __future__ import annotations

from collections.abc import Sequence

from services.chain.adapters.http import HttpSource
from services.chain.adapters.verdicts import meaning
from services.chain.adapters.whatsonchain.shapes import STATUSES, TEXT
from services.chain.app.ports import Broadcast, Sent
from services.chain.domain.failures import NodeUnavailable
from services.chain.domain.values import Txid
from services.chain.domain.wire import Output, txid_of


class WhatsOnChainSender:
    """`Broadcaster` over POST /tx/raw."""

    def __init__(self, source: HttpSource) -> None:
        self._source = source

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        """Sends a transaction. Only its own id is a yes."""
        try:
            answer = await self._source.send("/tx/raw", {"txhex": raw.hex()})
            if answer.status != 200:
                return Sent(meaning(answer.words), answer.words)
            said = answer.read(TEXT)
        except NodeUnavailable as problem:
            return Sent(Broadcast.UNKNOWN, problem.message)
        if said != txid_of(raw):
            return Sent(Broadcast.UNKNOWN, "it answers with the id of another transaction")
        return Sent(Broadcast.ACCEPTED)

    async def ask(self, txid: Txid) -> Sent:
        """What it knows of a transaction that was sent."""
        try:
            [status] = (await self._source.post("/txs/status", {"txids": [txid]})).read(STATUSES)
        except (NodeUnavailable, ValueError) as problem:
            return Sent(Broadcast.UNKNOWN, str(problem))
        known = status.txid == txid and not status.error
        return Sent(Broadcast.ACCEPTED if known else Broadcast.UNKNOWN, status.error or "")
