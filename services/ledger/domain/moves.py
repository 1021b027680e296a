"""What a transfer moves: balances at once, holds opened and ended. Ids and answers are known elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from services.ledger.domain.answers import Result
from services.ledger.domain.books import (
    GUARDED,
    INT64_MAX,
    INT64_MIN,
    SAT,
    TITLE_PREFIX,
    Books,
    traits_of,
)
from services.ledger.domain.commands import TransferKind, TransferLike
from services.ledger.domain.holds import Hold, Holds, HoldState
from services.ledger.domain.reasons import Reason

NS_PER_S = 1_000_000_000


class Refusal(Exception):  # noqa: N818 - flow of control inside the ledger's transfers
    """A transfer cannot be applied; nothing was changed."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.result = Result(reason, detail)


class Step(NamedTuple):
    """A transfer whose balances have moved, not yet on record."""

    transfer_id: str
    kind: int
    debit: int
    credit: int
    amount: int
    memo: str
    hold: Hold | None


class Moves:
    """Makes transfers in two steps: `make` moves, and may be undone; `finish` puts it on record."""

    def __init__(self, books: Books, holds: Holds, title_moved: Callable[[str, str], None]) -> None:
        self._books = books
        self._holds = holds
        self._title_moved = title_moved

    def make(self, transfer: TransferLike, bits: int) -> Step:
        """Moves what the transfer moves. Raises Refusal."""
        match transfer.kind:
            case TransferKind.POST:
                debit, credit = self._move(transfer, transfer.amount, bits)
                kind, hold, amount, memo = TransferKind.POST, None, transfer.amount, transfer.memo
            case TransferKind.HOLD:
                hold = self._hold(transfer, bits)
                kind, debit, credit = TransferKind.HOLD, hold.debit, hold.credit
                amount, memo = hold.amount, hold.memo
            case TransferKind.POST_HOLD:
                hold = self._open_hold(transfer, bits)
                amount = self._post_hold(hold, transfer.amount)
                kind, debit, credit = TransferKind.POST_HOLD, hold.debit, hold.credit
                memo = transfer.memo or hold.memo
            case _:
                hold = self._open_hold(transfer, bits)
                self._holds.close(hold, HoldState.VOIDED)
                kind, debit, credit = TransferKind.VOID_HOLD, hold.debit, hold.credit
                amount, memo = 0, ""
        return Step(transfer.id, kind, debit, credit, amount, memo, hold)

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

    def _hold(self, transfer: TransferLike, bits: int) -> Hold:
        if not traits_of(transfer.debit_account, transfer.asset) & GUARDED:
            raise Refusal(Reason.ACCOUNT_FORBIDDEN, "only a guarded account can hold")
        debit, credit = self._sides(transfer, transfer.amount, bits)
        lasts_s = transfer.hold_expires_s
        hold = Hold(
            id_=transfer.id,
            debit=debit,
            credit=credit,
            amount=transfer.amount,
            memo=transfer.memo,
            expires_ns=self._books.now_ns + lasts_s * NS_PER_S if lasts_s else 0,
        )
        self._holds.open(hold)
        return hold

    def _open_hold(self, transfer: TransferLike, bits: int) -> Hold:
        hold = self._holds.by_id.get(transfer.hold_id)
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
        self._holds.close(hold, HoldState.POSTED)
        balance[hold.debit] -= amount
        balance[hold.credit] += amount
        return amount

    def undo(self, step: Step) -> None:
        """As if it had not moved; of several the last first."""
        if step.kind in (TransferKind.POST, TransferKind.POST_HOLD):
            self._books.balance[step.debit] += step.amount
            self._books.balance[step.credit] -= step.amount
        if step.hold is None:
            return
        if step.kind == TransferKind.HOLD:
            self._holds.unmake(step.hold)
        else:
            self._holds.reopen(step.hold)

    def finish(self, step: Step) -> None:
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
