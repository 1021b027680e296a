"""Transfers: immutable, with ids made by the caller; linked ones together or not at all; holds in two phases.

An id is answered once: an applied transfer and a refused one both keep their answer for ever, so that a late
duplicate can never do what its caller was told did not happen.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

from services.ledger.domain.books import (
    CALLER_BITS,
    GUARDED,
    INT64_MAX,
    INT64_MIN,
    SAT,
    TITLE_PREFIX,
    Books,
    Posting,
)
from services.ledger.domain.commands import TransferKind, TransferLike
from services.ledger.domain.reasons import Reason
from services.ledger.domain.titles import Titles

NS_PER_S = 1_000_000_000


class HoldState(IntEnum):
    """Where a hold stands; all but OPEN are final."""

    OPEN = 0
    POSTED = 1
    VOIDED = 2
    EXPIRED = 3


class Hold:
    """An amount kept back on an account until it is posted, voided or expires."""

    __slots__ = ("amount", "credit", "debit", "id", "memo", "state")

    def __init__(self, hold_id: str, debit: int, credit: int, amount: int, memo: str) -> None:
        self.id = hold_id
        self.debit = debit
        self.credit = credit
        self.amount = amount
        self.memo = memo
        self.state = HoldState.OPEN


class Result(NamedTuple):
    """How one transfer ended."""

    reason: Reason
    detail: str


APPLIED = Result(Reason.OK, "")

# All of a transfer but its id; what makes a repeat the same.
Body = tuple[int, str, str, str, int, str, bool, int, str]


class _Answer(NamedTuple):
    """First answer to an id that did not become a plain posting."""

    body: Body
    result: Result


class _Step(NamedTuple):
    """A transfer whose balances have moved, not yet on record."""

    transfer: TransferLike
    transfer_id: str
    kind: int
    posting: Posting | None
    hold: Hold | None


class _Refusal(Exception):  # noqa: N818 - flow of control inside this file
    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.result = Result(reason, detail)


def _body(transfer: TransferLike) -> Body:
    kind = transfer.kind
    plain = kind == TransferKind.POST
    return (
        kind,
        transfer.debit_account,
        transfer.credit_account,
        transfer.asset,
        transfer.amount,
        "" if plain else transfer.hold_id,
        transfer.linked,
        0 if plain else transfer.hold_expires_s,
        transfer.memo,
    )


class Transfers:
    """Applies transfers to the books."""

    def __init__(self, books: Books, titles: Titles, title_moved: Callable[[str, str], None]) -> None:
        self._books = books
        self._titles = titles
        self._title_moved = title_moved
        # By transfer id: the number of its posting, or its answer.
        self.answers: dict[str, int | _Answer] = {}
        self.holds: dict[str, Hold] = {}
        # (time, hold): holds that end by themselves.
        self.expiries: list[tuple[int, str]] = []
        self._apply_kind = {
            TransferKind.HOLD: self._hold,
            TransferKind.POST_HOLD: self._post_hold,
            TransferKind.VOID_HOLD: self._void_hold,
        }

    def create(self, caller: str, transfers: Sequence[TransferLike]) -> list[Result]:
        """Applies in order. One result each; a refused transfer moves nothing."""
        bits = CALLER_BITS.get(caller, 0)
        results: list[Result] = []
        chain: list[TransferLike] = []
        for transfer in transfers:
            if transfer.linked:
                chain.append(transfer)
            elif chain:
                chain.append(transfer)
                results += self._chain(chain, bits)
                chain = []
            else:
                results.append(self._single(transfer, bits))
        if chain:
            results += self._refuse_chain(chain, len(chain) - 1, Result(Reason.LINKED_CHAIN_OPEN, ""))
        return results

    def expire(self) -> None:
        """Ends the holds whose time is over."""
        while self.expiries and self.expiries[0][0] <= self._books.now_ns:
            hold = self.holds[heapq.heappop(self.expiries)[1]]
            if hold.state is HoldState.OPEN:
                hold.state = HoldState.EXPIRED
                self._books.held[hold.debit] -= hold.amount
                self._released(hold.debit)

    def _single(self, transfer: TransferLike, bits: int) -> Result:
        transfer_id = transfer.id
        if transfer_id in self.answers:
            return self._again(transfer_id, transfer)
        try:
            step = self._apply(transfer_id, transfer, bits)
        except _Refusal as refusal:
            self.answers[transfer_id] = _Answer(_body(transfer), refusal.result)
            return refusal.result
        self._finish(step)
        return APPLIED

    def _again(self, transfer_id: str, transfer: TransferLike) -> Result:
        answer = self.answers[transfer_id]
        if isinstance(answer, int):
            posting, books = self._books.postings[answer], self._books
            names = books.names[posting.debit], books.names[posting.credit], books.assets[posting.debit]
            answer = _Answer(
                (TransferKind.POST, *names, posting.amount, "", posting.linked, 0, posting.memo), APPLIED
            )
        if answer.body == _body(transfer):
            return answer.result
        return Result(Reason.ID_REUSED, "the id was used before with another body")

    def _chain(self, chain: list[TransferLike], bits: int) -> list[Result]:
        if all(transfer.id in self.answers for transfer in chain):
            return [self._again(transfer.id, transfer) for transfer in chain]
        steps: list[_Step] = []
        seen = {transfer.id for transfer in chain if transfer.id in self.answers}
        for place, transfer in enumerate(chain):
            transfer_id = transfer.id
            try:
                if transfer_id in seen:
                    raise _Refusal(Reason.ID_REUSED, "the id was used before")  # noqa: TRY301 - as those below
                seen.add(transfer_id)
                steps.append(self._apply(transfer_id, transfer, bits))
            except _Refusal as refusal:
                for step in reversed(steps):
                    self._undo(step)
                return self._refuse_chain(chain, place, refusal.result)
        for step in steps:
            self._finish(step)
        return [APPLIED] * len(chain)

    def _refuse_chain(self, chain: list[TransferLike], failed: int, result: Result) -> list[Result]:
        results = []
        for place, transfer in enumerate(chain):
            own = result if place == failed else Result(Reason.LINKED_TRANSFER_FAILED, "")
            self.answers.setdefault(transfer.id, _Answer(_body(transfer), own))
            results.append(own)
        return results

    def _apply(self, transfer_id: str, transfer: TransferLike, bits: int) -> _Step:
        kind = transfer.kind
        if kind == TransferKind.POST:
            return self._post(transfer_id, transfer, bits)
        return self._apply_kind[TransferKind(kind)](transfer_id, transfer, bits)

    def _sides(self, transfer: TransferLike, amount: int, bits: int) -> tuple[int, int]:
        """The accounts of a transfer that may give this amount, or the refusal."""
        books = self._books
        debit_name, credit_name, asset = transfer.debit_account, transfer.credit_account, transfer.asset
        if amount < 1:
            raise _Refusal(Reason.AMOUNT_NOT_POSITIVE)
        if debit_name == credit_name:
            raise _Refusal(Reason.SAME_ACCOUNT)
        if asset != SAT and asset.removeprefix(TITLE_PREFIX) not in self._titles.by_meme:
            raise _Refusal(Reason.ASSET_MISMATCH, f"nobody issued {asset!r}")
        debit, credit = books.number(debit_name, asset), books.number(credit_name, asset)
        traits = books.traits[debit]
        if not traits & books.traits[credit] & bits:
            raise _Refusal(Reason.ACCOUNT_FORBIDDEN)
        if debit in books.debt:
            raise _Refusal(Reason.ACCOUNT_IN_DEBT, f"owes {books.debt[debit]}")
        if traits & GUARDED:
            available = books.balance[debit] - books.held[debit]
            if available < amount:
                raise _Refusal(Reason.INSUFFICIENT_FUNDS, f"available {available}, needed {amount}")
        elif books.balance[debit] - amount < INT64_MIN:
            raise _Refusal(Reason.OVERFLOW)
        if books.balance[credit] > INT64_MAX - amount:
            raise _Refusal(Reason.OVERFLOW)
        return debit, credit

    def _post(self, transfer_id: str, transfer: TransferLike, bits: int) -> _Step:
        amount = transfer.amount
        debit, credit = self._sides(transfer, amount, bits)
        balance, now_ns = self._books.balance, self._books.now_ns
        balance[debit] -= amount
        balance[credit] += amount
        posting = Posting(transfer_id, debit, credit, amount, transfer.memo, now_ns, transfer.linked)
        return _Step(transfer, transfer_id, 1, posting, None)

    def _hold(self, transfer_id: str, transfer: TransferLike, bits: int) -> _Step:
        amount = transfer.amount
        debit, credit = self._sides(transfer, amount, bits)
        if not self._books.traits[debit] & GUARDED:
            raise _Refusal(Reason.ACCOUNT_FORBIDDEN, "only a guarded account can hold")
        self._books.held[debit] += amount
        hold = self.holds[transfer_id] = Hold(transfer_id, debit, credit, amount, transfer.memo)
        return _Step(transfer, transfer_id, 2, None, hold)

    def _open_hold(self, transfer: TransferLike, bits: int) -> Hold:
        hold = self.holds.get(transfer.hold_id)
        if hold is None:
            raise _Refusal(Reason.HOLD_NOT_FOUND)
        traits = self._books.traits
        if not traits[hold.debit] & traits[hold.credit] & bits:
            raise _Refusal(Reason.ACCOUNT_FORBIDDEN)
        if transfer.asset and transfer.asset != self._books.assets[hold.debit]:
            raise _Refusal(Reason.ASSET_MISMATCH, "the hold is in another asset")
        if hold.state is not HoldState.OPEN:
            raise _Refusal(Reason.HOLD_CLOSED, hold.state.name)
        return hold

    def _post_hold(self, transfer_id: str, transfer: TransferLike, bits: int) -> _Step:
        hold = self._open_hold(transfer, bits)
        amount = transfer.amount or hold.amount
        if amount < 1:
            raise _Refusal(Reason.AMOUNT_NOT_POSITIVE)
        if amount > hold.amount:
            raise _Refusal(Reason.HOLD_EXCEEDED, f"held {hold.amount}, asked {amount}")
        books = self._books
        if books.balance[hold.credit] > INT64_MAX - amount:
            raise _Refusal(Reason.OVERFLOW)
        hold.state = HoldState.POSTED
        books.held[hold.debit] -= hold.amount
        books.balance[hold.debit] -= amount
        books.balance[hold.credit] += amount
        memo = transfer.memo or hold.memo
        posting = Posting(transfer_id, hold.debit, hold.credit, amount, memo, books.now_ns, transfer.linked)
        return _Step(transfer, transfer_id, 3, posting, hold)

    def _void_hold(self, transfer_id: str, transfer: TransferLike, bits: int) -> _Step:
        hold = self._open_hold(transfer, bits)
        hold.state = HoldState.VOIDED
        self._books.held[hold.debit] -= hold.amount
        return _Step(transfer, transfer_id, 4, None, hold)

    def _undo(self, step: _Step) -> None:
        books, hold = self._books, step.hold
        if step.posting is not None:
            books.balance[step.posting.debit] += step.posting.amount
            books.balance[step.posting.credit] -= step.posting.amount
        if hold is None:
            return
        if step.kind == TransferKind.HOLD:
            books.held[hold.debit] -= hold.amount
            del self.holds[hold.id]
        else:
            books.held[hold.debit] += hold.amount
            hold.state = HoldState.OPEN

    def _finish(self, step: _Step) -> None:
        books, posting, hold = self._books, step.posting, step.hold
        if hold is None and posting is not None:
            self.answers[step.transfer_id] = len(books.postings)
        else:
            self.answers[step.transfer_id] = _Answer(_body(step.transfer), APPLIED)
        if posting is not None:
            books.append(posting)
            asset = books.assets[posting.debit]
            if asset != SAT:
                owner = books.names[posting.credit].removeprefix("user:")
                self._title_moved(asset.removeprefix(TITLE_PREFIX), owner)
            elif posting.credit in books.debt:
                books.settle_debt(posting.credit)
        if hold is not None:
            if step.kind == TransferKind.HOLD and step.transfer.hold_expires_s:
                ends_ns = self._books.now_ns + step.transfer.hold_expires_s * NS_PER_S
                heapq.heappush(self.expiries, (ends_ns, hold.id))
            self._released(hold.debit)

    def _released(self, account: int) -> None:
        self._books.touched.add(account)
        if account in self._books.debt:
            self._books.settle_debt(account)
