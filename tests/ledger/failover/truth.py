"""What the journal says, worked out without the ledger's own code: every balance after every record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from satreel.ledger.v1 import journal_pb2, ledger_pb2, ledger_service_pb2

from mesh.records import scan_all
from mesh.records.sqlite import open_sqlite
from services.ledger.adapters.journal import SET, SETS

# Balance and held, by account.
State = Mapping[str, tuple[int, int]]


class Moved(NamedTuple):
    """A posting: who gave, who got, how much."""

    debit: str
    credit: str
    amount: int


class _Refused(Exception):  # noqa: N818 - flow of control inside this file
    """A transfer cannot be made."""


class Truth:
    """Knows deposits, posts, holds and their ends; nothing expires, and only users are guarded."""

    def __init__(self, accounts: Sequence[str]) -> None:
        self.states: dict[int, State] = {}
        self.sequences: dict[str, int] = {}
        self.applied: dict[str, bool] = {}
        self.postings: dict[str, Moved] = {}
        self.leaders: list[str] = []
        self._accounts = accounts
        self._balance: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._holds: dict[str, Moved] = {}

    def take(self, record: journal_pb2.JournalRecord) -> None:
        if record.HasField("reign"):
            self.leaders.append(record.leader_id)
        for wire in record.commands:
            command = journal_pb2.JournalCommand.FromString(wire)
            for deposit in command.credit_deposits.deposits:
                self._deposit(deposit, record.sequence)
            asked = ledger_service_pb2.CreateTransfersRequest.FromString(command.create_transfers.request)
            for chain in _chains(asked.transfers):
                self._chain(chain, record.sequence)
        self.states[record.sequence] = {
            name: (self._balance[name], self._held[name]) for name in self._accounts if name in self._balance
        }

    def _deposit(self, deposit: ledger_pb2.Deposit, sequence: int) -> None:
        if deposit.id not in self.applied:
            self.sequences[deposit.id] = sequence
            self._post(deposit.id, Moved("chain:coins", f"user:{deposit.user_id}", deposit.amount_sats))
            self.applied[deposit.id] = True

    def _chain(self, chain: list[ledger_pb2.Transfer], sequence: int) -> None:
        if chain[0].id in self.applied:
            return  # a repetition
        balance, held, holds, postings = (
            self._balance.copy(), self._held.copy(), dict(self._holds), dict(self.postings)
        )  # fmt: skip
        try:
            for transfer in chain:
                self._make(transfer)
            applied = True
        except _Refused:
            self._balance, self._held, self._holds, self.postings = balance, held, holds, postings
            applied = False
        for transfer in chain:
            self.sequences[transfer.id] = sequence
            self.applied[transfer.id] = applied

    def _make(self, transfer: ledger_pb2.Transfer) -> None:
        moved = Moved(transfer.debit_account, transfer.credit_account, transfer.amount)
        match transfer.kind:
            case ledger_pb2.TRANSFER_KIND_POST:
                self._require(moved)
                self._post(transfer.id, moved)
            case ledger_pb2.TRANSFER_KIND_HOLD:
                self._require(moved)
                self._held[moved.debit] += moved.amount
                self._holds[transfer.id] = moved
            case _:
                self._end(transfer)

    def _end(self, transfer: ledger_pb2.Transfer) -> None:
        hold = self._holds.pop(transfer.hold_id, None)
        if hold is None or transfer.amount > hold.amount:
            raise _Refused
        self._held[hold.debit] -= hold.amount
        if transfer.kind == ledger_pb2.TRANSFER_KIND_POST_HOLD:
            self._post(transfer.id, hold._replace(amount=transfer.amount or hold.amount))

    def _require(self, moved: Moved) -> None:
        if self._balance[moved.debit] - self._held[moved.debit] < moved.amount:
            raise _Refused

    def _post(self, id_: str, moved: Moved) -> None:
        self._balance[moved.debit] -= moved.amount
        self._balance[moved.credit] += moved.amount
        self.postings[id_] = moved


def _chains(transfers: Iterable[ledger_pb2.Transfer]) -> list[list[ledger_pb2.Transfer]]:
    chains: list[list[ledger_pb2.Transfer]] = [[]]
    for transfer in transfers:
        chains[-1].append(transfer)
        if not transfer.linked:
            chains.append([])
    return [chain for chain in chains if chain]


async def read_truth(folder: Path, accounts: Sequence[str]) -> Truth:
    """Reads the journal from the store's file."""
    truth = Truth(accounts)
    async with open_sqlite(folder / "records" / "ledger.sqlite", SETS) as store:
        async for kept in scan_all(store, SET):
            truth.take(journal_pb2.JournalRecord.FromString(kept.blob("data")))
    return truth
