"""Accounts, balances and postings: where every satoshi is, and how it came there.

An account is a number: its place in parallel lists, because the hot loop moves millions of them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from services.ledger.domain.reasons import LedgerImbalance

SAT = "sat"
TITLE_PREFIX = "title:"
CHAIN_COINS = "chain:coins"
MINT = "mint"
# Contra account of users' debts: its negative balance is what they owe together.
DEBTS = "debts"
FEE = "platform:fee"
FLOAT = "platform:float"
POOL_CARRIED = "pool:carried"

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

# What an account is, as bits: the hot loop asks with one `&`.
GUARDED = 1
USER = 2
FOR_CHAIN = 4
FOR_MARKET = 8
CALLER_BITS = {"chain": FOR_CHAIN, "market": FOR_MARKET}

_NAME = re.compile(r"[a-z]+(:[0-9A-Za-z._-]+)*")
_NAMESPACE = uuid.UUID("5f0c53b2-62f5-5d0b-9a52-0c9ed9f4a8c1")


class Posting(NamedTuple):
    """A transfer as it stands in the books. `debit` and `credit` are account numbers."""

    transfer_id: str
    debit: int
    credit: int
    amount: int
    memo: str
    at_ns: int
    linked: bool


def derived_id(name: str) -> str:
    """Transfer id of a posting that the ledger makes itself: the same on every replay."""
    return str(uuid.uuid5(_NAMESPACE, name))


def user_account(user_id: str) -> str:
    """Name of a user's account."""
    return f"user:{user_id}"


def traits_of(name: str, asset: str) -> int:
    """The bits of an account by its name. A name of no known form may be touched by nobody."""
    if _NAME.fullmatch(name) is None:
        return GUARDED
    if name.startswith("user:"):
        return GUARDED | USER | FOR_MARKET | (FOR_CHAIN if asset == SAT else 0)
    if asset != SAT:
        return 0 if name == MINT else GUARDED
    by_name = {CHAIN_COINS: FOR_CHAIN, DEBTS: 0, FLOAT: GUARDED | FOR_CHAIN, FEE: GUARDED | FOR_MARKET}
    return by_name.get(name, GUARDED)


class Books:
    """All accounts and postings. Every method leaves the sum of each asset at zero."""

    def __init__(self) -> None:
        # The time of what is being done; the machine sets it.
        self.now_ns = 0
        self.numbers: dict[tuple[str, str], int] = {}
        self.names: list[str] = []
        self.assets: list[str] = []
        self.traits: list[int] = []
        self.balance: list[int] = []
        self.held: list[int] = []
        self.debt: dict[int, int] = {}
        self.postings: list[Posting] = []
        # Numbers of an account's postings, oldest first.
        self.history: list[list[int]] = []
        # Accounts whose balance or hold changed without a posting since the last commit.
        self.touched: set[int] = set()

    def number(self, name: str, asset: str = SAT) -> int:
        """The account's number; it comes to be by being asked for."""
        key = (name, asset)
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.names)
            self.names.append(name)
            self.assets.append(asset)
            self.traits.append(traits_of(name, asset))
            self.balance.append(0)
            self.held.append(0)
            self.history.append([])
        return number

    def available(self, account: int) -> int:
        """What may be spent now."""
        return self.balance[account] - self.held[account]

    def record(self, transfer_id: str, debit: int, credit: int, amount: int, memo: str) -> None:
        """Puts on record what has been moved already."""
        self.append(Posting(transfer_id, debit, credit, amount, memo, self.now_ns, False))

    def append(self, posting: Posting) -> None:
        """Puts a posting on record whose amount has been moved already."""
        number = len(self.postings)
        self.postings.append(posting)
        self.history[posting.debit].append(number)
        self.history[posting.credit].append(number)

    def move(self, debit: int, credit: int, amount: int) -> None:
        """Moves an amount inside the ledger's own rules. Raises LedgerImbalance rather than overdraw."""
        left = self.balance[debit] - amount
        if amount < 0 or (self.traits[debit] & GUARDED and left < self.held[debit]):
            raise LedgerImbalance(f"{self.names[debit]} cannot give {amount}")
        if left < INT64_MIN or self.balance[credit] + amount > INT64_MAX:
            raise LedgerImbalance(f"{self.names[debit]} or {self.names[credit]} would leave int64")
        self.balance[debit] = left
        self.balance[credit] += amount
        self.touched.add(debit)
        self.touched.add(credit)

    def post(self, transfer_id: str, debit: int, credit: int, amount: int, memo: str) -> None:
        """Moves and records; whoever gets it pays its debt first."""
        if amount == 0:
            return
        self.move(debit, credit, amount)
        self.record(transfer_id, debit, credit, amount, memo)
        if credit in self.debt:
            self.settle_debt(credit)

    def take(self, transfer_id: str, debit: int, credit: int, amount: int, memo: str) -> int:
        """Takes an amount back from an account: what is no longer there becomes its debt. Returns that debt.

        The missing part comes from the contra account DEBTS, so that nothing goes below zero in silence.
        """
        there = min(amount, self.available(debit))
        missing = amount - there
        self.post(transfer_id, debit, credit, there, memo)
        if missing:
            self.post(derived_id(f"debt:{transfer_id}"), self.number(DEBTS), credit, missing, memo)
            self.debt[debit] = self.debt.get(debit, 0) + missing
            self.touched.add(debit)
        return missing

    def settle_debt(self, account: int) -> None:
        """Pays what it can of the account's debt. Called whenever something became available on it."""
        owed = self.debt.get(account, 0)
        paid = min(owed, self.available(account))
        if paid <= 0:
            return
        transfer_id = derived_id(f"debt-paid:{len(self.postings)}")
        self.post(transfer_id, account, self.number(DEBTS), paid, "debt")
        if owed == paid:
            del self.debt[account]
        else:
            self.debt[account] = owed - paid

    def sums(self) -> dict[str, int]:
        """Sum of all balances by asset; each is zero."""
        sums: dict[str, int] = {}
        for asset, balance in zip(self.assets, self.balance, strict=True):
            sums[asset] = sums.get(asset, 0) + balance
        return sums

    def overdrawn(self) -> Iterator[str]:
        """Guarded accounts whose spendable balance is below zero, and holds below zero; there are none."""
        for name, traits, balance, held in zip(self.names, self.traits, self.balance, self.held, strict=True):
            if held < 0 or (traits & GUARDED and balance < held):
                yield name
