"""Checks of a whole state that do not trust how it came about, and its digest."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from services.ledger.domain import image
from services.ledger.domain.books import DEBTS, TITLE_PREFIX, user_account
from services.ledger.domain.holds import HoldState
from services.ledger.domain.machine import Machine


class Audit:
    """Adds up all postings beside the machine as they come, so that they need not all be kept.

    `absorb` before postings leave the machine for the history, `problems` when the state is to be checked.
    """

    def __init__(self) -> None:
        self._absorbed = 0
        self._expected = array("q")

    def absorb(self, machine: Machine) -> None:
        """Adds the postings since the last call."""
        books, expected = machine.books, self._expected
        expected.extend([0] * (len(books.names) - len(expected)))
        for posting in books.postings[self._absorbed - books.first_kept + 1 :]:
            expected[posting.debit] -= posting.amount
            expected[posting.credit] += posting.amount
        self._absorbed = books.postings_made

    def problems(self, machine: Machine) -> list[str]:
        """Everything that is wrong with the state, in words; empty when all holds."""
        self.absorb(machine)
        return [
            *_sums(machine), *_holds(machine), *_debts(machine), *self._postings(machine), *_titles(machine),
        ]  # fmt: skip

    def _postings(self, machine: Machine) -> Iterator[str]:
        """Postings and what accrues without being on record yet make exactly the balances."""
        books = machine.books
        expected = array("q", self._expected)
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


def problems(machine: Machine) -> list[str]:
    """Everything that is wrong with a state all of whose postings are kept."""
    return Audit().problems(machine)


def digest(machine: Machine) -> str:
    """Hash of all that the ledger holds, hex. Left out: time, and what a refusal changes, its answer."""
    sections = image.dump(machine)
    answers = [name for name in sections if name.startswith("answers/")]
    return image.hash_of(sections, without=[*answers, "result", "clock"]).hex()


def _sums(machine: Machine) -> Iterator[str]:
    for asset, total in machine.books.sums().items():
        if total:
            yield f"the sum of {asset} is {total}, not 0"
    for name in machine.books.overdrawn():
        yield f"{name} is overdrawn"


def _holds(machine: Machine) -> Iterator[str]:
    held: dict[int, int] = {}
    for hold in machine.holds.by_id.values():
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
    number = books.find(DEBTS)
    contra = 0 if number is None else books.balance[number]
    if contra != -sum(books.debt.values()):
        yield f"debts are {sum(books.debt.values())}, their contra account has {contra}"
    for number in books.debt:
        if books.available(number):
            yield f"{books.names[number]} owes although it could pay"


def _titles(machine: Machine) -> Iterator[str]:
    books = machine.books
    for meme_id, title in machine.titles.by_meme.items():
        number = books.find(user_account(title.owner_id), TITLE_PREFIX + meme_id)
        if number is None or books.balance[number] != 1:
            yield f"the title of {meme_id} is not on its owner's account"
