"""Orders as the ledger's callers put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.ledger.v1 import journal_pb2
from satreel.ledger.v1 import ledger_pb2 as pb
from satreel.ledger.v1 import ledger_service_pb2 as calls

from mesh.clock import NS_PER_S
from services.ledger.app.orders import Order
from services.ledger.domain.sessions import key_of
from services.ledger.rpc.read import columns_order, order, transfers_order


def transfers(caller: str, asked: Sequence[pb.Transfer]) -> Order:
    """CreateTransfers; PostTransfers for half of what is plain, by its first id: a repetition is the same."""
    plain = all(one.kind == pb.TRANSFER_KIND_POST and one.asset == "sat" and not one.linked for one in asked)
    if plain and asked[0].id[-1] in "01234567":
        return columns_order(caller, _columns(asked))
    return transfers_order(caller, calls.CreateTransfersRequest(transfers=asked))


def _columns(asked: Sequence[pb.Transfer]) -> calls.PostTransfersRequest:
    sides = [(one.debit_account, one.credit_account) for one in asked]
    accounts = sorted({name for pair in sides for name in pair})
    return calls.PostTransfersRequest(
        accounts=accounts,
        ids=[one.id for one in asked],
        debits=[accounts.index(debit) for debit, _ in sides],
        credits=[accounts.index(credit) for _, credit in sides],
        amounts=[one.amount for one in asked],
        memos=[one.memo for one in asked],
    )


def issue_title(meme_id: str, creator_id: str) -> Order:
    """IssueTitle."""
    return order(issue_title=calls.IssueTitleRequest(meme_id=meme_id, creator_id=creator_id))


def credit(deposits: Sequence[pb.Deposit]) -> Order:
    """CreditDeposits."""
    return order(credit_deposits=calls.CreditDepositsRequest(deposits=deposits))


def reverse(reversal_id: str, deposit_id: str, reason: str) -> Order:
    """ReverseDeposit."""
    request = calls.ReverseDepositRequest(id=reversal_id, deposit_id=deposit_id, reason=reason)
    return order(reverse_deposit=request)


def open_round(
    round_id: str, rates: pb.Parameters, starts_ns: int, locks_ns: int, entries: Sequence[pb.RoundEntry]
) -> Order:
    """OpenRound."""
    return order(
        open_round=calls.OpenRoundRequest(
            round_id=round_id,
            parameters=rates,
            starts_at=_timestamp(starts_ns),
            locks_at=_timestamp(locks_ns),
            entries=entries,
        )
    )


def lock_round(round_id: str) -> Order:
    """LockRound."""
    return order(lock_round=calls.LockRoundRequest(round_id=round_id))


def distribute_pool(round_id: str, ranking: Sequence[str]) -> Order:
    """DistributePool."""
    return order(distribute_pool=calls.DistributePoolRequest(round_id=round_id, ranking=ranking))


def void_round(round_id: str, reason: str) -> Order:
    """VoidRound."""
    return order(void_round=calls.VoidRoundRequest(round_id=round_id, reason=reason))


def open_session(session_id: str, viewer_id: str, meme_id: str, budget_sats: int) -> Order:
    """OpenSession."""
    request = calls.OpenSessionRequest(session_id=session_id, meme_id=meme_id, budget_sats=budget_sats)
    return order(open_session=journal_pb2.JournalOpenSession(viewer_id=viewer_id, request=request))


def close_session(session_id: str, viewer_id: str) -> Order:
    """CloseSession."""
    request = calls.CloseSessionRequest(session_id=session_id)
    return order(close_session=journal_pb2.JournalCloseSession(viewer_id=viewer_id, request=request))


def report(seconds: Mapping[str, int]) -> Order:
    """One message of Meter: full seconds by session."""
    report = journal_pb2.JournalSeconds(meter_keys=map(key_of, seconds), seconds=seconds.values())
    return order(report_seconds=report)


def _timestamp(at_ns: int) -> Timestamp:
    return Timestamp(seconds=at_ns // NS_PER_S, nanos=at_ns % NS_PER_S)
