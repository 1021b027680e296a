"""Transfers: immutable, with ids made by the caller; linked ones together or not at all; holds in two phases.

An id is answered once: an applied transfer and a refused one both keep their answer until their id has left
the window, so that a late duplicate can never do what its caller was told did not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count, repeat
from operator import itemgetter
from typing import NamedTuple, TypeVar

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
    INT64_MIN,
    SAT,
    TITLE_PREFIX,
    Books,
    Posting,
    new_posting,
    traits_of,
)
from services.ledger.domain.commands import ColumnsLike, Transfer, TransferKind, TransferLike
from services.ledger.domain.holds import Hold, Holds, HoldState
from services.ledger.domain.reasons import Reason
from services.ledger.domain.window import SPAN_DIGITS

NS_PER_S = 1_000_000_000
_POST = int(TransferKind.POST)
_Origin = TypeVar("_Origin")
# Id, number of debit and credit if they are known, amount, memo; and what the row is made of.
_Row = tuple[str, int | None, int | None, int, str, _Origin]
_ORIGIN = itemgetter(5)


class Refusal(Exception):  # noqa: N818 - flow of control inside this file
    """A transfer cannot be applied; nothing was changed."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.result = Result(reason, detail)


class _ChainRefusal(Exception):  # noqa: N818 - flow of control inside this file
    """A chain cannot be begun, because of the transfer at this place."""

    def __init__(self, place: int, result: Result) -> None:
        self.place = place
        self.result = result


class _Step(NamedTuple):
    """A transfer of a chain whose balances have moved, not yet on record."""

    transfer_id: str
    body: bytes
    kind: int
    debit: int
    credit: int
    amount: int
    memo: str
    hold: Hold | None


class Transfers:
    """Applies transfers to the books."""

    def __init__(self, books: Books, answers: Answers, title_moved: Callable[[str, str], None]) -> None:
        self._books = books
        self._answers = answers
        self._title_moved = title_moved
        self.holds = Holds(books)
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
            self._finish(self._apply(transfer_id, body, transfer, bits))
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
        steps: list[_Step] = []
        accounts = len(self._books.names)
        try:
            self._check_chain(chain, known, is_open)
            for transfer, body in zip(chain, bodies, strict=True):
                steps.append(self._apply(transfer.id, body, transfer, bits))
        except _ChainRefusal as refusal:
            return self._refuse_chain(chain, bodies, refusal.place, refusal.result)
        except Refusal as refusal:
            for step in reversed(steps):
                self._undo(step)
            self._books.drop_accounts(accounts)
            return self._refuse_chain(chain, bodies, len(steps), refusal.result)
        for step in steps:
            self._finish(step)
            self._answers.put(step.transfer_id, step.body, APPLIED)
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

    def _apply(self, transfer_id: str, body: bytes, transfer: TransferLike, bits: int) -> _Step:
        """Moves what the transfer moves. Raises Refusal."""
        match transfer.kind:
            case TransferKind.POST:
                debit, credit = self._move(transfer, transfer.amount, bits)
                kind, hold, amount, memo = TransferKind.POST, None, transfer.amount, transfer.memo
            case TransferKind.HOLD:
                hold = self._hold(transfer_id, transfer, bits)
                kind, debit, credit = TransferKind.HOLD, hold.debit, hold.credit
                amount, memo = hold.amount, hold.memo
            case TransferKind.POST_HOLD:
                hold = self._open_hold(transfer, bits)
                amount = self._post_hold(hold, transfer.amount)
                kind, debit, credit = TransferKind.POST_HOLD, hold.debit, hold.credit
                memo = transfer.memo or hold.memo
            case _:
                hold = self._open_hold(transfer, bits)
                self.holds.close(hold, HoldState.VOIDED)
                kind, debit, credit = TransferKind.VOID_HOLD, hold.debit, hold.credit
                amount, memo = 0, ""
        return _Step(transfer_id, body, kind, debit, credit, amount, memo, hold)

    def _sides(self, transfer: TransferLike, amount: int, bits: int) -> tuple[int, int]:
        """The accounts of a transfer that may give this amount. Raises Refusal."""
        books = self._books
        debit_name, credit_name, asset = transfer.debit_account, transfer.credit_account, transfer.asset
        if amount < 1:
            raise Refusal(Reason.AMOUNT_NOT_POSITIVE)
        if debit_name == credit_name:
            raise Refusal(Reason.SAME_ACCOUNT)
        numbers = books.numbers.get(asset)
        if numbers is None:
            raise Refusal(Reason.ASSET_MISMATCH, f"nobody issued {asset!r}")
        debit, credit = numbers.get(debit_name), numbers.get(credit_name)
        traits = traits_of(debit_name, asset) if debit is None else books.traits[debit]
        credit_traits = traits_of(credit_name, asset) if credit is None else books.traits[credit]
        if not traits & credit_traits & bits:
            raise Refusal(Reason.ACCOUNT_FORBIDDEN)
        if debit is None:
            if traits & GUARDED:
                raise Refusal(Reason.INSUFFICIENT_FUNDS, f"available 0, needed {amount}")
            debit = books.number(debit_name, asset)
        self._check_debit(debit, traits, amount)
        if credit is None:
            return debit, books.number(credit_name, asset)
        if books.balance[credit] > INT64_MAX - amount:
            raise Refusal(Reason.OVERFLOW)
        return debit, credit

    def _check_debit(self, debit: int, traits: int, amount: int) -> None:
        books = self._books
        if debit in books.debt:
            raise Refusal(Reason.ACCOUNT_IN_DEBT, f"owes {books.debt[debit]}")
        if traits & GUARDED:
            available = books.balance[debit] - books.held[debit]
            if available < amount:
                raise Refusal(Reason.INSUFFICIENT_FUNDS, f"available {available}, needed {amount}")
        elif books.balance[debit] - amount < INT64_MIN:
            raise Refusal(Reason.OVERFLOW)

    def _move(self, transfer: TransferLike, amount: int, bits: int) -> tuple[int, int]:
        debit, credit = self._sides(transfer, amount, bits)
        balance = self._books.balance
        balance[debit] -= amount
        balance[credit] += amount
        return debit, credit

    def _hold(self, transfer_id: str, transfer: TransferLike, bits: int) -> Hold:
        if not traits_of(transfer.debit_account, transfer.asset) & GUARDED:
            raise Refusal(Reason.ACCOUNT_FORBIDDEN, "only a guarded account can hold")
        debit, credit = self._sides(transfer, transfer.amount, bits)
        lasts_s = transfer.hold_expires_s
        hold = Hold(
            id_=transfer_id,
            debit=debit,
            credit=credit,
            amount=transfer.amount,
            memo=transfer.memo,
            expires_ns=self._books.now_ns + lasts_s * NS_PER_S if lasts_s else 0,
        )
        self.holds.open(hold)
        return hold

    def _open_hold(self, transfer: TransferLike, bits: int) -> Hold:
        hold = self.holds.by_id.get(transfer.hold_id)
        if hold is None:
            raise Refusal(Reason.HOLD_NOT_FOUND)
        traits = self._books.traits
        if not traits[hold.debit] & traits[hold.credit] & bits:
            raise Refusal(Reason.ACCOUNT_FORBIDDEN)
        if transfer.asset and transfer.asset != self._books.assets[hold.debit]:
            raise Refusal(Reason.ASSET_MISMATCH, "the hold is in another asset")
        if hold.state is not HoldState.OPEN:
            raise Refusal(Reason.HOLD_CLOSED, hold.state.name)
        return hold

    def _post_hold(self, hold: Hold, asked: int) -> int:
        amount, balance = asked or hold.amount, self._books.balance
        if amount < 1:
            raise Refusal(Reason.AMOUNT_NOT_POSITIVE)
        if amount > hold.amount:
            raise Refusal(Reason.HOLD_EXCEEDED, f"held {hold.amount}, asked {amount}")
        if balance[hold.credit] > INT64_MAX - amount:
            raise Refusal(Reason.OVERFLOW)
        self.holds.close(hold, HoldState.POSTED)
        balance[hold.debit] -= amount
        balance[hold.credit] += amount
        return amount

    def _undo(self, step: _Step) -> None:
        if step.kind in (TransferKind.POST, TransferKind.POST_HOLD):
            self._books.balance[step.debit] += step.amount
            self._books.balance[step.credit] -= step.amount
        if step.hold is None:
            return
        if step.kind == TransferKind.HOLD:
            self.holds.unmake(step.hold)
        else:
            self.holds.reopen(step.hold)

    def _finish(self, step: _Step) -> None:
        """Puts on record what has been moved."""
        if step.kind in (TransferKind.POST, TransferKind.POST_HOLD):
            self._record(step.transfer_id, step.debit, step.credit, step.amount, step.memo)
        if step.hold is not None:
            self._books.touched.add(step.hold.debit)
            if step.hold.debit in self._books.debt:
                self._books.settle_debt(step.hold.debit)

    def _record(self, transfer_id: str, debit: int, credit: int, amount: int, memo: str) -> None:
        books = self._books
        books.record(transfer_id, debit, credit, amount, memo)
        if credit in books.debt:
            books.settle_debt(credit)
        asset = books.assets[debit]
        if asset != SAT:
            owner = books.names[credit].removeprefix("user:")
            self._title_moved(asset.removeprefix(TITLE_PREFIX), owner)


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
