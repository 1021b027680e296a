"""Holds: amounts kept back on an account until they are posted, voided, or their time is over."""

from __future__ import annotations

import heapq
from collections import deque
from enum import IntEnum

from services.ledger.domain.books import Books


class HoldState(IntEnum):
    """Where a hold stands; all but OPEN are final."""

    OPEN = 0
    POSTED = 1
    VOIDED = 2
    EXPIRED = 3


class Hold:
    """An amount kept back. `expires_ns` 0: it lasts until it is ended."""

    __slots__ = ("amount", "credit", "debit", "expires_ns", "id", "memo", "state")

    def __init__(self, *, id_: str, debit: int, credit: int, amount: int, memo: str, expires_ns: int) -> None:
        self.id = id_
        self.debit = debit
        self.credit = credit
        self.amount = amount
        self.memo = memo
        self.expires_ns = expires_ns
        self.state = HoldState.OPEN


class Holds:
    """All holds that are open, and those closed within the horizon."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.by_id: dict[str, Hold] = {}
        # (time, hold): holds that end by themselves.
        self.expiries: list[tuple[int, str]] = []
        # (when, hold): closed ones, the longest closed first.
        self.closed: deque[tuple[int, str]] = deque()

    def open(self, hold: Hold) -> None:
        """Keeps its amount back."""
        self._books.held[hold.debit] += hold.amount
        self.know(hold)

    def know(self, hold: Hold) -> None:
        """Makes a hold known whose amount is kept back already."""
        self.by_id[hold.id] = hold
        if hold.expires_ns and hold.state is HoldState.OPEN:
            heapq.heappush(self.expiries, (hold.expires_ns, hold.id))

    def close(self, hold: Hold, state: HoldState) -> None:
        """Ends a hold: what it kept back is free."""
        hold.state = state
        self._books.held[hold.debit] -= hold.amount
        self.closed.append((self._books.now_ns, hold.id))

    def reopen(self, hold: Hold) -> None:
        """Takes back the last `close`."""
        hold.state = HoldState.OPEN
        self._books.held[hold.debit] += hold.amount
        self.closed.pop()

    def unmake(self, hold: Hold) -> None:
        """Takes back an `open`."""
        self._books.held[hold.debit] -= hold.amount
        del self.by_id[hold.id]

    def expire(self) -> None:
        """Ends the holds whose time is over."""
        books = self._books
        while self.expiries and self.expiries[0][0] <= books.now_ns:
            hold = self.by_id.get(heapq.heappop(self.expiries)[1])
            if hold is not None and hold.state is HoldState.OPEN:
                self.close(hold, HoldState.EXPIRED)
                books.touched.add(hold.debit)
                if hold.debit in books.debt:
                    books.settle_debt(hold.debit)

    def forget(self, before_ns: int) -> None:
        """Forgets those that were closed before this time."""
        while self.closed and self.closed[0][0] < before_ns:
            del self.by_id[self.closed.popleft()[1]]
