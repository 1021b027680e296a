"""Transfers: immutable, with ids made by the caller; linked ones together or not at all; holds in two phases.

An id is answered once: an applied transfer and a refused one both keep their answer until their id has left
the window, so that a late duplicate can never do what its caller was told did not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count, repeat
from operator import itemgetter
from typing import TypeVar

from services.ledger.domain.answers import (
    APPLIED,
    OUT_OF_TIME,
    REUSED,
    Answers,
    Result,
    body_hash,
    chain_hashes,
    noted_body,
    plain_body,
)
from services.ledger.domain.books import (
    CALLER_BITS,
    GUARDED,
    INT64_MAX,
    SAT,
    Books,
    Posting,
    new_posting,
)
from services.ledger.domain.commands import ColumnsLike, Transfer, TransferKind, TransferLike
from services.ledger.domain.holds import Holds, HoldState
from services.ledger.domain.moves import Moves, Refusal, Step
from services.ledger.domain.reasons import Reason
from services.ledger.domain.window import SPAN_DIGITS

_POST = int(TransferKind.POST)
_Origin = TypeVar("_Origin")
# Id, number of debit and credit if they are known, amount, memo; and what the row is made of.
_Row = tuple[str, int | None, int | None, int, str, _Origin]
_ORIGIN = itemgetter(5)


class _ChainRefusal(Exception):  # noqa: N818 - flow of control inside this file
    """A chain cannot be begun, because of the transfer at this place."""

    def __init__(self, place: int, result: Result) -> None:
        self.place = place
        self.result = result


class Transfers:
    """Applies transfers to the books."""

    def __init__(self, books: Books, answers: Answers, title_moved: Callable[[str, str], None]) -> None:
        self._books = books
        self._answers = answers
        self.holds = Holds(books)
        self._moves = Moves(books, self.holds, title_moved)
        self._window = answers.window
        self._sat_accounts = books.numbers[SAT]

    def create(self, caller: str, transfers: Iterable[TransferLike]) -> list[Result]:
        """Applies in order. One result each; a refused transfer moves nothing."""
        bits, rows = CALLER_BITS.get(caller, 0), self._rows(transfers)
        results: list[Result] = []
        while (transfer := self._plain(rows, bits, results)) is not None:
            if transfer.linked:
                results += self._chain(*_chain_from(transfer, map(_ORIGIN, rows)), bits)
            else:
                results.append(self._single(transfer, bits))
        return results

    def post(self, caller: str, columns: ColumnsLike) -> list[Result]:
        """The same for plain transfers in columns: what is the same for all is looked at once."""
        bits, names, find = CALLER_BITS.get(caller, 0), columns.accounts, self._sat_accounts.get
        debits, credits_, memos = columns.debits, columns.credits, columns.memos or repeat("")
        numbers = list(map(find, names))
        rows: Iterator[_Row[int]] = zip(
            columns.ids,
            map(numbers.__getitem__, debits),
            map(numbers.__getitem__, credits_),
            columns.amounts,
            memos,
            count(),
            strict=False,
        )
        results: list[Result] = []
        while (place := self._plain(rows, bits, results)) is not None:
            debit, credit = debits[place], credits_[place]
            memo = columns.memos[place] if columns.memos else ""
            transfer = Transfer(
                columns.ids[place], names[debit], names[credit], columns.amounts[place], memo=memo
            )
            results.append(self._single(transfer, bits))
            # It may have been the first of this account.
            numbers[credit] = find(names[credit])
        return results

    def _rows(self, transfers: Iterable[TransferLike]) -> Iterator[_Row[TransferLike]]:
        """Rows of the hot path; one that is not plain has no debit there."""
        find = self._sat_accounts.get
        for transfer in transfers:
            plain = transfer.kind == _POST and transfer.asset == SAT and not transfer.linked
            debit = find(transfer.debit_account) if plain else None
            yield transfer.id, debit, find(transfer.credit_account), transfer.amount, transfer.memo, transfer

    def _plain(self, rows: Iterator[_Row[_Origin]], bits: int, results: list[Result]) -> _Origin | None:
        """The hot path: new ids, satoshis at once between known accounts, and nothing that forbids it.

        It asks all that the general path asks, in one place and without a call. Returns where the first row
        that is out of the ordinary comes from; nothing was done of it, the general path finds out what it is.
        """
        books, by_span = self._books, self._answers.by_span
        low, high, debt = self._window.low, self._window.high, books.debt
        balance, held, traits, newest = books.balance, books.held, books.traits, books.newest
        now_ns, record, answer = books.now_ns, books.postings.append, results.append
        for id_, debit, credit, amount, memo, origin in rows:
            span = by_span.get(id_[:SPAN_DIGITS])
            if (
                debit is None or credit is None or debit == credit or amount < 1 or debt
                or span is None or id_ in span or not low <= id_ < high
            ):  # fmt: skip
                return origin
            sides, left = traits[debit] & traits[credit], balance[debit] - amount
            if (
                not (sides & bits and sides & GUARDED) or left < held[debit]
                or balance[credit] > INT64_MAX - amount
            ):  # fmt: skip
                return origin
            balance[debit] = left
            balance[credit] += amount
            posting = (id_, debit, credit, amount, memo, now_ns, newest[debit], newest[credit])
            record(new_posting(Posting, posting))
            books.postings_made = newest[debit] = newest[credit] = books.postings_made + 1
            body = plain_body(debit, credit, amount)
            span[id_] = noted_body(body, memo) if memo else body
            answer(APPLIED)
        return None

    def _single(self, transfer: TransferLike, bits: int) -> Result:
        """Whatever a transfer that stands alone may be."""
        transfer_id, body, answers = transfer.id, body_hash(transfer), self._answers
        known = self._known(transfer, body, self._plain_body(transfer))
        if known is not None:
            return known
        try:
            self._moves.finish(self._moves.make(transfer, bits))
        except Refusal as refusal:
            answers.put(transfer_id, body, refusal.result)
            return refusal.result
        answers.put(transfer_id, body, APPLIED)
        return APPLIED

    def _chain(self, chain: list[TransferLike], is_open: bool, bits: int) -> list[Result]:
        """Linked transfers: all or none. What is remembered of each is its place in this very chain."""
        bodies = chain_hashes(chain)
        known = [self._known(transfer, body) for transfer, body in zip(chain, bodies, strict=True)]
        if answered := _all(known):
            return answered
        steps: list[Step] = []
        accounts = len(self._books.names)
        try:
            self._check_chain(chain, known, is_open)
            for transfer in chain:
                steps.append(self._moves.make(transfer, bits))  # noqa: PERF401 - those before a refusal are undone
        except _ChainRefusal as refusal:
            return self._refuse_chain(chain, bodies, refusal.place, refusal.result)
        except Refusal as refusal:
            for step in reversed(steps):
                self._moves.undo(step)
            self._books.drop_accounts(accounts)
            return self._refuse_chain(chain, bodies, len(steps), refusal.result)
        for step, body in zip(steps, bodies, strict=True):
            self._moves.finish(step)
            self._answers.put(step.transfer_id, body, APPLIED)
        return [APPLIED] * len(chain)

    def _check_chain(self, chain: list[TransferLike], known: list[Result | None], is_open: bool) -> None:
        """Raises _ChainRefusal at the first id that is not new, and for a chain without an end."""
        seen = set[str]()
        for place, (transfer, result) in enumerate(zip(chain, known, strict=True)):
            if result is OUT_OF_TIME:
                raise _ChainRefusal(place, result)
            if result is not None or transfer.id in seen:
                raise _ChainRefusal(place, REUSED)
            seen.add(transfer.id)
        if is_open:
            raise _ChainRefusal(len(chain) - 1, Result(Reason.LINKED_CHAIN_OPEN, ""))

    def _refuse_chain(
        self, chain: list[TransferLike], bodies: list[bytes], failed: int, result: Result
    ) -> list[Result]:
        results = []
        for place, (transfer, body) in enumerate(zip(chain, bodies, strict=True)):
            own = result if place == failed else Result(Reason.LINKED_TRANSFER_FAILED, "")
            self._answers.put_new(transfer.id, body, own)
            results.append(own)
        return results

    def _known(self, transfer: TransferLike, body: bytes, plain: bytes = b"") -> Result | None:
        """What is to be answered without a look at it; None for a new one.

        What ends an open hold may be as old as the hold: that happens once, whatever is forgotten.
        """
        known = self._answers.again(transfer.id, body, plain)
        if known is not OUT_OF_TIME or transfer.kind not in (TransferKind.POST_HOLD, TransferKind.VOID_HOLD):
            return known
        hold = self.holds.by_id.get(transfer.hold_id)
        return None if hold is not None and hold.state is HoldState.OPEN else known

    def _plain_body(self, transfer: TransferLike) -> bytes:
        """What the hot path would have kept of it; nothing, where that would not have taken it."""
        [(_, debit, credit, amount, memo, _)] = self._rows([transfer])
        if debit is None or credit is None or amount < 1:
            return b""
        body = plain_body(debit, credit, amount)
        return noted_body(body, memo) if memo else body


def _all(results: list[Result | None]) -> list[Result] | None:
    """The results if there are all of them."""
    found = [result for result in results if result is not None]
    return found if len(found) == len(results) else None


def _chain_from(first: TransferLike, others: Iterator[TransferLike]) -> tuple[list[TransferLike], bool]:
    """The chain that begins with this transfer, and whether nothing ended it."""
    chain = [first]
    for transfer in others:
        chain.append(transfer)
        if not transfer.linked:
            return chain, False
    return chain, True
