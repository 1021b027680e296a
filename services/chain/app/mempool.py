"""Transactions that wait to be mined: deposits are seen in them before they count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mesh import logs
from services.chain.app.accounts import Accounts
from services.chain.app.books import Books
from services.chain.app.deposits import Deposits
from services.chain.app.ports import ChainNews, ChainReader
from services.chain.domain.scan import scan
from services.chain.domain.values import Txid
from services.chain.domain.wire import BadBytes, parse_transaction

log = logs.logger(__name__)

FETCH_MAX = 200


class Mempool:
    """What waits at the node."""

    def __init__(
        self, *, books: Books, accounts: Accounts, deposits: Deposits, node: ChainReader, news: ChainNews
    ) -> None:
        self._books = books
        self._accounts = accounts
        self._deposits = deposits
        self._node = node
        self._news = news
        self._known: set[Txid] = set()

    async def take(self, raws: Iterable[bytes]) -> None:
        """Looks at raw transactions for deposits."""
        transactions = []
        for raw in raws:
            try:
                transactions.append(parse_transaction(raw))
            except BadBytes as problem:
                log.warning("the node sent a malformed transaction", problem=str(problem))
        found = scan(transactions, self._accounts.interest())
        # A new coinbase comes by here as well; it is seen with its block.
        await self._deposits.found([found for found in found.payments if not found.coinbase], None)

    async def poll(self) -> None:
        """Asks for what waits to be mined, and looks at what is new."""
        waiting = await self._node.pending(self._accounts.interest())
        fresh = [txid for txid in waiting if txid not in self._known]
        for start in range(0, len(fresh), FETCH_MAX):
            chunk = fresh[start : start + FETCH_MAX]
            raws = await self._node.transactions(chunk)
            await self.take(raws.values())
            self._known.update(chunk)
            await asyncio.sleep(0)
        self._known = set(waiting)
