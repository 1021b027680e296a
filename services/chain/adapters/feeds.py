"""Our events over feeds in Redis; without Redis watchers get snapshots, and nothing else is lost."""

from __future__ import annotations

from typing import Protocol

from mesh.clock import Clock
from mesh.feeds import Feed
from mesh.ids import uuid7
from services.chain.app.ports import Subject
from services.chain.domain.headers import Switch

BLOCKS_FEED, CHAIN_FEED = "chain-blocks", "chain"


class Show(Protocol):
    """Events as bytes, as the contract has them."""

    def block_event(self, event_id: str, at_ns: int, switch: Switch) -> bytes:
        """The winning chain moved."""
        ...

    def chain_event(self, event_id: str, at_ns: int, subject: Subject) -> bytes:
        """Something changed its state."""
        ...


class FeedNews:
    """`News` over two feeds."""

    def __init__(self, *, blocks: Feed, chain: Feed, show: Show, clock: Clock) -> None:
        self._blocks = blocks
        self._chain = chain
        self._show = show
        self._clock = clock

    def blocks(self, event_id: str, at_ns: int, switch: Switch) -> None:
        """The winning chain moved."""
        self._blocks.publish(self._show.block_event(event_id, at_ns, switch))

    def changed(self, subject: Subject) -> None:
        """Something changed its state."""
        now_ns = self._clock.now_ns()
        self._chain.publish(self._show.chain_event(uuid7(now_ns), now_ns, subject))
