"""Wire → domain: what a command looks like in a request and in the journal, and what it means.

A command is applied from the same bytes that the journal keeps, so that a replay cannot read it differently.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.ledger.v1 import journal_pb2, ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as calls

from services.ledger.app.orders import Order
from services.ledger.domain import commands as c
from services.ledger.domain.books import FLOAT, user_account
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.shares import Parameters

NS_PER_S = 1_000_000_000


def order(**command: Any) -> Order:
    """An order from one field of JournalCommand, e.g. `order(lock_round=request)`."""
    wire = journal_pb2.JournalCommand(**command)
    return Order(_command_of(wire), wire.SerializeToString())


def transfers_order(caller: str, request: calls.CreateTransfersRequest) -> Order:
    """An order for transfers that this service asks for."""
    asked = journal_pb2.JournalTransfers(caller=caller, request=request.SerializeToString())
    wire = journal_pb2.JournalCommand(create_transfers=asked)
    return Order(c.CreateTransfers(caller, request.transfers), wire.SerializeToString())


def columns_order(caller: str, request: calls.PostTransfersRequest) -> Order:
    """An order for transfers in columns. Raises COLUMNS_UNEVEN."""
    columns = (request.debits, request.credits, request.amounts, *([request.memos] if request.memos else ()))
    if any(len(column) != len(request.ids) for column in columns):
        raise Refused(Reason.COLUMNS_UNEVEN, "the columns have not one entry for each id")
    if max(chain(request.debits, request.credits)) >= len(request.accounts):
        raise Refused(Reason.COLUMNS_UNEVEN, "debits or credits point behind the accounts")
    asked = journal_pb2.JournalTransfers(caller=caller, request=request.SerializeToString())
    wire = journal_pb2.JournalCommand(post_transfers=asked)
    return Order(c.PostTransfers(caller, request), wire.SerializeToString())


def read_command(wire: bytes) -> c.Command:
    """The command that the journal keeps in this form."""
    return _command_of(journal_pb2.JournalCommand.FromString(wire))


def _command_of(wire: journal_pb2.JournalCommand) -> c.Command:
    name = wire.WhichOneof("command")
    if name is None:
        raise ValueError("a command of a kind that this version does not know")
    return _READERS[name](getattr(wire, name))


def to_ns(timestamp: Timestamp) -> int:
    """Nanoseconds since 1970 UTC."""
    return timestamp.seconds * NS_PER_S + timestamp.nanos


def parameters_of(wire: ledger_pb2.Parameters) -> Parameters:
    """The rules of a round."""
    return Parameters(
        version=wire.version,
        platform_fee_bp=wire.platform_fee_bp,
        instant_bp=wire.instant_bp,
        creator_bp=wire.creator_bp,
        winner_bp=wire.winner_bp,
        ranks_paid=wire.ranks_paid,
        payout_min_sats=wire.payout_min_sats,
        second_price_sats=wire.second_price_sats,
        free_below_s=wire.free_below_s,
        session_max_s=wire.session_max_s,
        scored_seconds_max=wire.scored_seconds_max,
    )


def _transfers(wire: journal_pb2.JournalTransfers) -> c.Command:
    return c.CreateTransfers(wire.caller, calls.CreateTransfersRequest.FromString(wire.request).transfers)


def _columns(wire: journal_pb2.JournalTransfers) -> c.Command:
    return c.PostTransfers(wire.caller, calls.PostTransfersRequest.FromString(wire.request))


def _issue_title(wire: calls.IssueTitleRequest) -> c.Command:
    return c.IssueTitle(wire.meme_id, wire.creator_id)


def _credit_deposits(wire: calls.CreditDepositsRequest) -> c.Command:
    return c.CreditDeposits(tuple(_deposit(deposit) for deposit in wire.deposits))


def _deposit(wire: ledger_pb2.Deposit) -> c.Deposit:
    account = FLOAT if wire.user_id == FLOAT else user_account(wire.user_id)
    return c.Deposit(wire.id, account, wire.amount_sats, wire.txid, wire.vout, wire.block_hash)


def _reverse_deposit(wire: calls.ReverseDepositRequest) -> c.Command:
    return c.ReverseDeposit(wire.id, wire.deposit_id, wire.reason)


def _open_round(wire: calls.OpenRoundRequest) -> c.Command:
    return c.OpenRound(
        round_id=wire.round_id,
        parameters=parameters_of(wire.parameters),
        starts_ns=to_ns(wire.starts_at),
        locks_ns=to_ns(wire.locks_at),
        entries=tuple(c.Entry(entry.meme_id, entry.creator_id, entry.quality_ppm) for entry in wire.entries),
    )


def _lock_round(wire: calls.LockRoundRequest) -> c.Command:
    return c.LockRound(wire.round_id)


def _distribute_pool(wire: calls.DistributePoolRequest) -> c.Command:
    return c.DistributePool(wire.round_id, tuple(wire.ranking))


def _void_round(wire: calls.VoidRoundRequest) -> c.Command:
    return c.VoidRound(wire.round_id, wire.reason)


def _open_session(wire: journal_pb2.JournalOpenSession) -> c.Command:
    asked = wire.request
    return c.OpenSession(asked.session_id, wire.viewer_id, asked.meme_id, asked.budget_sats)


def _close_session(wire: journal_pb2.JournalCloseSession) -> c.Command:
    return c.CloseSession(wire.request.session_id, wire.viewer_id)


def _report_seconds(wire: journal_pb2.JournalSeconds) -> c.Command:
    return c.ReportSeconds(wire.meter_keys, wire.seconds)


# By the field of JournalCommand that is set; each takes what that field holds.
_READERS: dict[str, Callable[[Any], c.Command]] = {
    "create_transfers": _transfers,
    "post_transfers": _columns,
    "issue_title": _issue_title,
    "credit_deposits": _credit_deposits,
    "reverse_deposit": _reverse_deposit,
    "open_round": _open_round,
    "lock_round": _lock_round,
    "distribute_pool": _distribute_pool,
    "void_round": _void_round,
    "open_session": _open_session,
    "close_session": _close_session,
    "report_seconds": _report_seconds,
}
