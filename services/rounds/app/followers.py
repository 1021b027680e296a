"""What rounds hears from others, turned into events of the current round. Runs on the leader."""

from __future__ import annotations

import asyncio

from mesh.clock import Clock
from mesh.following import follow
from mesh.records.errors import Stale
from services.rounds.app.assignment import Assignment
from services.rounds.app.driver import Driver
from services.rounds.app.ports import (
    BlockNews,
    Chain,
    Content,
    ContentNews,
    Cursors,
    Ledger,
    LedgerNews,
    News,
    RecordNews,
    Rounds,
)
from services.rounds.domain import events, machine
from services.rounds.domain.events import Event
from services.rounds.domain.values import ENDED, InstantNs, RoundId, State

BLOCKS = "blocks"
CONTENT = "content"


class Followers:
    """The streams of chain, content and ledger. A cursor is written once what came before it has effect."""

    def __init__(
        self,
        *,
        driver: Driver,
        assignment: Assignment,
        rounds: Rounds,
        cursors: Cursors,
        ledger: Ledger,
        content: Content,
        chain: Chain,
        news: News,
        clock: Clock,
    ) -> None:
        self._driver = driver
        self._assignment = assignment
        self._rounds = rounds
        self._cursors = cursors
        self._ledger = ledger
        self._content = content
        self._chain = chain
        self._news = news
        self._clock = clock

    async def run(self) -> None:
        """Follows everything until cancelled."""
        blocks, content = await self._cursors.read(BLOCKS), await self._cursors.read(CONTENT)
        self._last_block = str(blocks.get("hash", ""))
        async with asyncio.TaskGroup() as group:
            group.create_task(
                follow(
                    "chain blocks",
                    self._chain.watch_blocks,
                    self._blocks,
                    clock=self._clock,
                    cursor=str(blocks.get("cursor", "")),
                )
            )
            group.create_task(
                follow(
                    "content",
                    self._content.watch,
                    self._memes,
                    clock=self._clock,
                    cursor=str(content.get("cursor", "")),
                )
            )
            group.create_task(follow("ledger", self._ledger.watch, self._tallies, clock=self._clock))
            group.create_task(
                follow("chain records", self._chain.watch_records, self._records, clock=self._clock)
            )

    async def _blocks(self, news: BlockNews) -> None:
        moved = bool(news.orphaned or news.connected)
        if news.snapshot:
            await self._check_anchors()
            # A snapshot's tip is news if a block was seen before and this is another; the very first is not.
            moved = self._last_block not in ("", news.connected[-1].hash)
        if moved:
            await self._driver.tell(events.ChainMoved(news.orphaned, news.connected))
            await self._move_old_anchors(news)
        if news.connected:
            self._last_block = news.connected[-1].hash
        await self._cursors.write(BLOCKS, {"cursor": news.cursor, "hash": self._last_block})

    async def _move_old_anchors(self, news: BlockNews) -> None:
        """A reorganisation may reach rounds that have ended: their anchors move as well."""
        moved = events.ChainMoved(news.orphaned, news.connected)
        for block in news.orphaned:
            for stored in await self._rounds.with_anchor(block.hash):
                if stored.round.state in ENDED:
                    await self._amend(stored.round.number, moved)

    async def _check_anchors(self) -> None:
        """After a gap in the blocks: does the winning chain still have the anchors of the last rounds?"""
        current = self._driver.current
        if current is None:
            return
        recent = await self._rounds.before(current.number + 1, 2)
        for round_ in (stored.round for stored in recent):
            if round_.anchor is None:
                continue
            block = await self._chain.block_at(round_.anchor.height)
            if block is None:
                continue
            checked = events.AnchorChecked(block)
            if round_.state in ENDED:
                await self._amend(round_.number, checked)
            else:
                await self._driver.tell(checked, round_.id)

    async def _amend(self, number: int, event: Event) -> None:
        """A late fact about a round that is no longer driven."""
        while True:
            stored = await self._rounds.by_number(number)
            if stored is None:
                return
            after = machine.step(stored.round, event, InstantNs(self._clock.now_ns()))
            if after == stored.round:
                return
            try:
                await self._rounds.save(stored, after)
            except Stale:
                continue
            self._news.round_changed(self._driver.board.view(after))
            return

    async def _memes(self, news: ContentNews) -> None:
        if news.meme is None:
            await self._assignment.read_anew()
        else:
            await self._assignment.take([news.meme])
        await self.assign()
        await self._cursors.write(CONTENT, {"cursor": news.cursor})

    async def assign(self) -> None:
        """Gives the pending round the entries it should have now."""
        current = self._driver.current
        if current is None or current.state is not State.PENDING:
            return
        entries = self._assignment.entries(current, InstantNs(self._clock.now_ns()))
        if entries != current.entries:
            await self._driver.tell(events.EntriesAssigned(entries), current.id)

    async def _tallies(self, news: LedgerNews) -> None:
        self._driver.board.update(news.round_id, news.tally, whole=news.whole)

    async def _records(self, news: RecordNews) -> None:
        if news.record is not None:
            await self._transaction_known(*news.record)
            return
        waiting = [stored.round.id for stored in await self._rounds.without_txid()]
        if waiting:
            for round_id, txid in (await self._chain.txids(waiting)).items():
                await self._transaction_known(round_id, txid)

    async def _transaction_known(self, round_id: RoundId, txid: str) -> None:
        if not txid:
            return
        event = events.TransactionKnown(txid)
        for stored in await self._rounds.by_ids([round_id]):
            if stored.round.state in ENDED:
                await self._amend(stored.round.number, event)
            else:
                await self._driver.tell(event, round_id)
