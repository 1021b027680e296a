"""What the clients know from their answers alone: who should have what, and which transfers were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from satreel.ledger.v1 import ledger_pb2 as pb

from services.ledger.domain.answers import Result
from services.ledger.domain.books import CHAIN_COINS, FLOAT, SAT, user_account
from services.ledger.domain.reasons import Reason
from services.ledger.domain.views import PostingView

# Memos of what the ledger posts by itself.
OWN_MEMOS = (
    "view:", "share:", "pool:", "payout:", "carry:", "carried:", "void:", "refund:", "deposit:", "reversal:",
    "issue:", "debt",
)  # fmt: skip


class Move(NamedTuple):
    """Something that moved from one account to another."""

    debit: str
    credit: str
    asset: str
    amount: int


class Expected:
    """Books kept by the clients."""

    def __init__(self) -> None:
        self.moves: dict[str, Move] = {}
        self.holds: dict[str, pb.Transfer] = {}
        # All that were ever credited.
        self.deposits: list[pb.Deposit] = []
        # Satoshis by account: what came in less what went out. A debt counts as what is missing.
        self.net: Counter[str] = Counter()

    def transferred(self, asked: Sequence[pb.Transfer], results: Sequence[Result]) -> None:
        """The ledger's answer to transfers, told once for each."""
        for transfer, result in zip(asked, results, strict=True):
            if result.reason is Reason.OK:
                self._applied(transfer)

    def credited(self, deposit: pb.Deposit) -> None:
        """Coins came in."""
        self.deposits.append(deposit)
        self._add(Move(CHAIN_COINS, _account(deposit), SAT, deposit.amount_sats))

    def reversed(self, deposit: pb.Deposit) -> None:
        """They never did."""
        self._add(Move(_account(deposit), CHAIN_COINS, SAT, deposit.amount_sats))

    def problems(self, postings: Iterable[PostingView]) -> list[str]:
        """Transfers that are not in the books exactly once, and postings that nobody asked for."""
        found: Counter[str] = Counter()
        problems = []
        for view in postings:
            found[view.transfer_id] += 1
            move = self.moves.get(view.transfer_id)
            if move is None:
                if not view.memo.startswith(OWN_MEMOS):
                    problems.append(f"nobody was told of {view!r}")
            elif move != (view.debit, view.credit, view.asset, view.amount):
                problems.append(f"{move!r} was acknowledged, {view!r} was done")
        problems += [
            f"{found[id_]} times in the books: {id_} {self.moves[id_]}"
            for id_ in self.moves
            if found[id_] != 1
        ]
        problems += [f"{times} postings have the id {id_}" for id_, times in found.items() if times != 1]
        return problems

    def _applied(self, transfer: pb.Transfer) -> None:
        if transfer.kind == pb.TRANSFER_KIND_HOLD:
            self.holds[transfer.id] = transfer
        elif transfer.kind == pb.TRANSFER_KIND_POST:
            self._moved(transfer.id, transfer, transfer.amount)
        elif transfer.kind == pb.TRANSFER_KIND_POST_HOLD:
            hold = self.holds[transfer.hold_id]
            self._moved(transfer.id, hold, transfer.amount or hold.amount)

    def _moved(self, transfer_id: str, sides: pb.Transfer, amount: int) -> None:
        move = Move(sides.debit_account, sides.credit_account, sides.asset, amount)
        if transfer_id not in self.moves:
            self.moves[transfer_id] = move
            self._add(move)

    def _add(self, move: Move) -> None:
        if move.asset == SAT:
            self.net[move.debit] -= move.amount
            self.net[move.credit] += move.amount


def _account(deposit: pb.Deposit) -> str:
    return FLOAT if deposit.user_id == FLOAT else user_account(deposit.user_id)
