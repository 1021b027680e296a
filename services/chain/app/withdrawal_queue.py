"""Withdrawals as they are kept, and those of them that wait for the next batch."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from services.chain.app.books import Books
from services.chain.app.ports import News, WithdrawalView
from services.chain.app.records import Kept
from services.chain.domain.entities import Tx, Withdrawal
from services.chain.domain.states import WITHDRAWAL, WithdrawalState, check

HIDDEN = (WithdrawalState.NEW, WithdrawalState.REFUSED)
"""States that nobody outside is shown."""


class WithdrawalQueue:
    """What asking for withdrawals and paying them have in common."""

    def __init__(self, *, books: Books, news: News) -> None:
        self._books = books
        self._news = news
        self.table = books.records.withdrawals
        self.waiting: dict[str, Kept[Withdrawal]] = {}
        # One after the other, so that a repeated request finds what the first one did.
        self.asking = asyncio.Lock()

    async def put(self, kept: Kept[Withdrawal], state: WithdrawalState) -> Kept[Withdrawal]:
        """Writes another state. Raises ImpossibleTransition, Stale."""
        check(WITHDRAWAL, kept.value.state, state)
        return await self.table.put(kept, replace(kept.value, state=state))

    def tell(self, withdrawal: Withdrawal, tx: Tx | None) -> None:
        """Publishes how it stands."""
        self._news.changed(WithdrawalView(withdrawal, self._books.confirmations(tx)))
