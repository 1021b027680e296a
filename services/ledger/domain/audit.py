"""Checks of a whole state that do not trust how it came about, and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from services.ledger.domain.books import DEBTS, TITLE_PREFIX, user_account
from services.ledger.domain.machine import Machine
from services.ledger.domain.meter import view_session
from services.ledger.domain.transfers import HoldState
from services.ledger.domain.views import view_account, view_posting, view_round


def problems(machine: Machine) -> list[str]:
    """Everything that is wrong with the state, in words; empty when all holds."""
    return [*_sums(machine), *_holds(machine), *_debts(machine), *_postings(machine), *_titles(machine)]


def _sums(machine: Machine) -> Iterator[str]:
    for asset, total in machine.books.sums().items():
        if total:
            yield f"the sum of {asset} is {total}, not 0"
    for name in machine.books.overdrawn():
        yield f"{name} is overdrawn"


def _holds(machine: Machine) -> Iterator[str]:
    held: dict[int, int] = {}
    for hold in machine.transfers.holds.values():
        if hold.state is HoldState.OPEN:
            held[hold.debit] = held.get(hold.debit, 0) + hold.amount
    for session in machine.meter.running.values():
        left = session.command.budget_sats - session.burned
        held[session.account] = held.get(session.account, 0) + left
    for number, amount in enumerate(machine.books.held):
        if amount != held.get(number, 0):
            yield f"{machine.books.names[number]} holds {amount}, its holds {held.get(number, 0)}"


def _debts(machine: Machine) -> Iterator[str]:
    books = machine.books
    contra = books.balance[books.numbers[DEBTS, "sat"]] if (DEBTS, "sat") in books.numbers else 0
    if contra != -sum(books.debt.values()):
        yield f"debts are {sum(books.debt.values())}, their contra account has {contra}"
    for number in books.debt:
        if books.available(number):
            yield f"{books.names[number]} owes although it could pay"


def _postings(machine: Machine) -> Iterator[str]:
    """Postings and what accrues without being on record yet make exactly the balances."""
    books = machine.books
    expected = [0] * len(books.names)
    for posting in books.postings:
        expected[posting.debit] -= posting.amount
        expected[posting.credit] += posting.amount
    for one in machine.rounds.by_id.values():
        for book in one.memes.values():
            for share in book.shares():
                expected[book.takings_account] -= share.paid - share.posted
                expected[share.account] += share.paid - share.posted
    for session in machine.meter.running.values():
        expected[session.account] -= session.burned
        expected[session.book.takings_account] += session.burned
    for number, balance in enumerate(books.balance):
        if balance != expected[number]:
            yield f"{books.names[number]} has {balance}, its postings make {expected[number]}"


def _titles(machine: Machine) -> Iterator[str]:
    books = machine.books
    for meme_id, title in machine.titles.by_meme.items():
        number = books.numbers.get((user_account(title.owner_id), TITLE_PREFIX + meme_id))
        if number is None or books.balance[number] != 1:
            yield f"the title of {meme_id} is not on its owner's account"


def digest(machine: Machine) -> str:
    """Hash of all that the ledger holds, hex. Left out: refused transfer ids, all that a refusal changes."""
    hashed = hashlib.sha256()
    for line in _lines(machine):
        hashed.update(line.encode() + b"\n")
    return hashed.hexdigest()


def _lines(machine: Machine) -> Iterator[str]:
    books = machine.books
    used = (n for n in range(len(books.names)) if books.history[n] or books.balance[n] or books.held[n])
    yield from sorted(repr(view_account(books, number)) for number in used)
    for number in range(len(books.postings)):
        view = view_posting(books, number)
        # Account numbers depend on refused names too; the names are what counts.
        yield repr(
            (view.sequence, view.debit, view.credit, view.asset, view.posting[3:], view.posting.transfer_id)
        )
    for hold_id, hold in machine.transfers.holds.items():
        yield repr((hold_id, hold.amount, hold.state, books.names[hold.debit], books.names[hold.credit]))
    for one in machine.rounds.by_id.values():
        yield repr((view_round(one), one.ranking))
        for book in one.memes.values():
            yield repr((book.tenures, sorted(book.viewers.items())))
    for session in machine.meter.by_id.values():
        yield repr((view_session(session), session.paid_seconds))
    yield from sorted(repr(title) for title in machine.titles.by_meme.values())
    for deposit_id, credited in machine.deposits.by_id.items():
        yield repr((deposit_id, list(credited.bodies.values()), credited.stands))
    yield from (repr(reversal) for reversal in machine.deposits.reversals.values())
