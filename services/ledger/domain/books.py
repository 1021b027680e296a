"""Accounts, balances and postings: where every satoshi is, and how it came there.

An account is a number: its place in parallel columns, because the hot loop moves millions of them and most
lie idle. Postings are kept until they are written to the history; each names the posting before it of either
account, so that a statement is a walk along them, through memory and history alike.
"""

from __future__ import annotations

import re
import uuid
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from services.ledger.domain.reasons import LedgerImbalance

SAT = "sat"
TITLE_PREFIX = "title:"
CHAIN_COINS = "chain:coins"
# Coins of the operator's that are not in the hot wallet.
CHAIN_COLD = "chain:cold"
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

_TRAITS = {
    CHAIN_COINS: FOR_CHAIN,
    CHAIN_COLD: FOR_CHAIN,
    DEBTS: 0,
    FLOAT: GUARDED | FOR_CHAIN,
    FEE: GUARDED | FOR_MARKET,
}

_NAME = re.compile(r"[a-z]+(:[0-9A-Za-z._-]+)*")
_NAMESPACE = uuid.UUID("5f0c53b2-62f5-5d0b-9a52-0c9ed9f4a8c1")


class Posting(NamedTuple):
    """A transfer as it stands in the books. `debit` and `credit` are account numbers.

    `debit_before` and `credit_before` are the numbers of the postings before it of these accounts; 0: none.
    """

    transfer_id: str
    debit: int
    credit: int
    amount: int
    memo: str
    at_ns: int
    debit_before: int
    credit_before: int


# What `Posting(…)` does, at a third of its cost: this is the innermost step of all.
new_posting = tuple.__new__


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
    return _TRAITS.get(name, GUARDED)


class Books:
    """All accounts and postings. Every method leaves the sum of each asset at zero."""

    def __init__(self) -> None:
        # The time of what is being done; the machine sets it.
        self.now_ns = 0
        # Account numbers by asset and name.
        self.numbers: dict[str, dict[str, int]] = {SAT: {}}
        self.names: list[str] = []
        self.assets: list[str] = []
        self.traits = bytearray()
        self.balance = array("q")
        self.held = array("q")
        # Number of an account's newest posting; 0: it has none.
        self.newest = array("q")
        # Number of a viewer's newest session; 0: none.
        self.newest_session = array("q")
        self.debt: dict[int, int] = {}
        # The newest postings, those not in the history yet; numbers begin at 1.
        self.postings: list[Posting] = []
        # How many there are, kept or in the history: also the number of the newest.
        self.postings_made = 0
        # Those since the last record that are not plain transfers.
        self.unsealed: list[Posting] = []
        # Accounts whose balance or hold changed without a posting since the last commit.
        self.touched: set[int] = set()

    @property
    def first_kept(self) -> int:
        """Number of the oldest posting that is kept here."""
        return self.postings_made - len(self.postings) + 1

    def find(self, name: str, asset: str = SAT) -> int | None:
        """The account's number; None when it was never used."""
        numbers = self.numbers.get(asset)
        return None if numbers is None else numbers.get(name)

    def number(self, name: str, asset: str = SAT) -> int:
        """The account's number; it comes to be by being asked for."""
        numbers = self.numbers.setdefault(asset, {})
        number = numbers.get(name)
        if number is None:
            number = numbers[name] = len(self.names)
            self.names.append(name)
            self.assets.append(asset)
            self.traits.append(traits_of(name, asset))
            self.balance.append(0)
            self.held.append(0)
            self.newest.append(0)
            self.newest_session.append(0)
        return number

    def drop_accounts(self, first: int) -> None:
        """Unmakes the accounts from this number on, made by a chain of transfers that was then refused."""
        for name, asset in zip(self.names[first:], self.assets[first:], strict=True):
            del self.numbers[asset][name]
        del self.names[first:], self.assets[first:], self.traits[first:]
        for column in (self.balance, self.held, self.newest, self.newest_session):
            del column[first:]

    def available(self, account: int) -> int:
        """What may be spent now."""
        return self.balance[account] - self.held[account]

    def record(self, transfer_id: str, debit: int, credit: int, amount: int, memo: str) -> None:
        """Puts on record what has been moved already."""
        newest = self.newest
        posting = (transfer_id, debit, credit, amount, memo, self.now_ns, newest[debit], newest[credit])
        recorded = new_posting(Posting, posting)
        self.postings.append(recorded)
        self.unsealed.append(recorded)
        self.postings_made = newest[debit] = newest[credit] = self.postings_made + 1

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

    def may_take(self, debit: int, amount: int) -> bool:
        """Whether `take` can: all debts together stay within int64."""
        return sum(self.debt.values()) + max(0, amount - self.available(debit)) <= INT64_MAX

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
        transfer_id = derived_id(f"debt-paid:{self.postings_made}")
        self.post(transfer_id, account, self.number(DEBTS), paid, "debt")
        if owed == paid:
            del self.debt[account]
        else:
            self.debt[account] = owed - paid

    def drop_postings(self, last: int) -> None:
        """Drops those up to this number, which are in the history."""
        del self.postings[: max(0, last - self.first_kept + 1)]

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
