"""A block leaves the winning chain: what it did is written down first, then undone, then told, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mesh import logs
from mesh.clock import Clock
from services.chain.app.books import Books
from services.chain.app.deposits import Deposits
from services.chain.app.orders import Work
from services.chain.app.ports import News, UndoneView
from services.chain.app.wallet import Wallet
from services.chain.domain.entities import NO_BLOCK, Tx, Undo
from services.chain.domain.states import TxState
from services.chain.domain.values import BlockHash, Purpose

log = logs.logger(__name__)

PART_MAX = 1_000
"""Deposits and transactions in one part of a block's list."""


class Undoing:
    """Undoes blocks. Every step may be repeated."""

    def __init__(
        self,
        *,
        books: Books,
        deposits: Deposits,
        wallet: Wallet,
        work: Mapping[Purpose, Work],
        news: News,
        clock: Clock,
    ) -> None:
        self._books = books
        self._records = books.records
        self._deposits = deposits
        self._wallet = wallet
        self._work = work
        self._news = news
        self._clock = clock

    async def undo(self, block_hash: BlockHash) -> None:
        """Takes back what this block did: our transactions wait again, deposits are reversed."""
        parts = await self._written_down(block_hash)
        # First the transactions: one that was final has its coins back in the books before deposits go.
        for kept in await self._records.txs.where("block_hash", block_hash):
            await self._unmined(kept.value)
        await self._wallet.found_again(block_hash)
        await self._deposits.undo(block_hash)
        for part in parts:
            await self._tell(part)
        # The last one stands for all of them, until the end.
        for part in parts:
            await self._records.undos.delete(part.key)

    async def _written_down(self, block_hash: BlockHash) -> list[Undo]:
        """The block's list as it was before any of it was undone."""
        known = [kept.value for kept in await self._records.undos.where("block_hash", block_hash)]
        if any(part.last for part in known):
            return sorted(known, key=lambda part: part.part)
        parts = await self._listed(block_hash)
        for part in parts:
            await self._records.undos.ensure(part)
        return parts

    async def _listed(self, block_hash: BlockHash) -> list[Undo]:
        deposits = [
            f"{kept.value.id}={kept.value.credit_id}"
            for kept in await self._records.deposits.where("block_hash", block_hash)
        ]
        txs = [str(kept.value.plan) for kept in await self._records.txs.where("block_hash", block_hash)]
        block = await self._records.blocks.get(block_hash)
        height = block.value.height if block else 0
        count = -(-max(len(deposits), len(txs)) // PART_MAX)
        return [
            Undo(
                f"{block_hash}.{part:06d}",
                block_hash,
                height,
                part,
                part == count,
                self._clock.now_ns(),
                tuple(deposits[(part - 1) * PART_MAX : part * PART_MAX]),
                tuple(txs[(part - 1) * PART_MAX : part * PART_MAX]),
            )
            for part in range(1, count + 1)
        ]

    async def _unmined(self, tx: Tx) -> None:
        async with self._books.changing():
            kept = self._books.txs.get(tx.plan) or await self._wallet.reopened(tx)
            after = replace(
                kept.value, state=TxState.REORGANISED, block_hash=NO_BLOCK, block_height=0, open=1
            )
            # The work first: once the transaction has lost its block, nobody finds it here again.
            await self._work[tx.purpose].unmined(after)
            await self._books.put_tx(kept, after)

    async def _tell(self, part: Undo) -> None:
        credits_ = dict(one.split("=") for one in part.deposits)
        deposits = await self._records.deposits.get_many(credits_)
        txs = await self._records.txs.get_many(part.txs)
        log.warning(
            "block undone",
            block=part.block_hash,
            height=part.height,
            deposits=len(part.deposits),
            transactions=len(part.txs),
        )
        self._news.changed(
            UndoneView(
                part,
                tuple((deposits[id_].value, credit_id) for id_, credit_id in credits_.items()),
                tuple(txs[plan].value for plan in part.txs),
            )
        )
