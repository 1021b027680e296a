"""Domain → proto."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.ledger.v1 import ledger_pb2 as pb
from satreel.ledger.v1 import ledger_service_pb2 as calls

from services.ledger.app.journal import Head
from services.ledger.domain.answers import APPLIED, Result
from services.ledger.domain.books import SAT
from services.ledger.domain.rounds import Payout
from services.ledger.domain.sessions import Receipt, Report, SessionView
from services.ledger.domain.shares import Parameters
from services.ledger.domain.titles import Title
from services.ledger.domain.views import AccountView, Changes, PostingView, RoundView, Tally, Totals

NS_PER_S = 1_000_000_000


def timestamp(at_ns: int) -> Timestamp | None:
    """A moment; 0 stands for none."""
    return Timestamp(seconds=at_ns // NS_PER_S, nanos=at_ns % NS_PER_S) if at_ns else None


def account(view: AccountView) -> pb.Account:
    """An account."""
    return pb.Account(
        id=view.name,
        asset=view.asset,
        balance=view.balance,
        held=view.held,
        available=view.balance - view.held,
        debt_sats=view.debt,
    )


def posting(view: PostingView) -> pb.Posting:
    """A posting."""
    return pb.Posting(
        sequence=view.sequence,
        transfer_id=view.transfer_id,
        debit_account=view.debit,
        credit_account=view.credit,
        asset=view.asset,
        amount=view.amount,
        memo=view.memo,
        posted_at=timestamp(view.at_ns),
    )


def title(view: Title) -> pb.Title:
    """A title."""
    return pb.Title(
        meme_id=view.meme_id,
        owner_id=view.owner_id,
        creator_id=view.creator_id,
        since=timestamp(view.since_ns),
    )


def session(view: SessionView) -> pb.Session:
    """A session."""
    return pb.Session(
        id=view.id,
        viewer_id=view.viewer_id,
        meme_id=view.meme_id,
        round_id=view.round_id,
        budget_sats=view.budget_sats,
        seconds=view.seconds,
        burned_sats=view.burned_sats,
        stop_reason=pb.StopReason.ValueType(view.stop),
        opened_at=timestamp(view.opened_ns),
        closed_at=timestamp(view.closed_ns),
        meter_key=view.meter_key,
    )


def tally(view: Tally) -> pb.MemeTally:
    """A meme's tally."""
    return pb.MemeTally(
        meme_id=view.meme_id,
        paid_seconds=view.paid_seconds,
        takings_sats=view.takings,
        fee_sats=view.fee,
        creator_sats=view.creator,
        owner_sats=view.owner,
        pool_sats=view.pool,
        scored_seconds=view.scored_seconds,
        viewers=view.viewers,
        first_view_at=timestamp(view.first_view_ns),
        running_sessions=view.running_sessions,
    )


def round_(view: RoundView) -> pb.LedgerRound:
    """A round with its tallies and payouts."""
    return pb.LedgerRound(
        round_id=view.id,
        state=pb.RoundState.ValueType(view.state),
        parameters=_parameters(view.parameters),
        starts_at=timestamp(view.starts_ns),
        locks_at=timestamp(view.locks_ns),
        tallies=[tally(one) for one in view.tallies],
        carried_in_sats=view.carried_in,
        pool_sats=view.pool,
        payouts=[_payout(one) for one in view.payouts],
        carried_out_sats=view.carried_out,
    )


def results(asked: Iterable[pb.Transfer], views: Iterable[Result]) -> calls.CreateTransfersResponse:
    """How each of these transfers ended."""
    response = calls.CreateTransfersResponse()
    add = response.results.add
    for transfer, view in zip(asked, views, strict=True):
        result = add()
        result.id = transfer.id
        if view is not APPLIED:
            result.reason, result.detail = pb.ErrorReason.ValueType(view.reason), view.detail
    return response


def refused(ids: Sequence[str], views: Sequence[Result]) -> calls.PostTransfersResponse:
    """Those of the transfers that were not applied."""
    results = [
        pb.TransferResult(id=ids[place], reason=pb.ErrorReason.ValueType(view.reason), detail=view.detail)
        for place, view in enumerate(views)
        if view is not APPLIED
    ]
    return calls.PostTransfersResponse(refused=results)


def reports(sequence: int, views: list[Report]) -> calls.MeterResponse:
    """What became of the parts of a report."""
    return calls.MeterResponse(
        sequence=sequence,
        burned_sats=[sats for view in views for sats in view.burned_sats],
        receipts=[_receipt(receipt) for view in views for receipt in view.receipts],
    )


def _receipt(view: Receipt) -> calls.MeterReceipt:
    return calls.MeterReceipt(
        meter_key=view.meter_key,
        session_id=view.session_id,
        seconds=view.seconds,
        burned_sats=view.burned_sats,
        stop_reason=pb.StopReason.ValueType(view.stop),
        reason=pb.ErrorReason.ValueType(view.reason),
    )


def totals(view: Totals, head: Head) -> calls.GetTotalsResponse:
    """The sums of the whole ledger."""
    return calls.GetTotalsResponse(
        sum_sats=view.sum,
        coins_owed_sats=view.coins_owed,
        users_sats=view.users,
        platform_sats=view.platform,
        rounds_sats=view.rounds,
        journal_sequence=head.sequence,
        journal_hash=head.hash.hex(),
        postings=view.postings,
        debts_sats=view.debts,
    )


def event(head: Head, changes: Changes) -> bytes:
    """A LedgerEvent of what a committed record changed, serialised. It may be empty; its id is the number."""
    shown = calls.LedgerEvent(
        id=str(head.sequence),
        at=timestamp(changes.at_ns),
        tallies=[tally(one) for one in changes.tallies],
        round_id=changes.round_id,
        titles=[title(one) for one in changes.titles],
        sessions=[session(one) for one in changes.sessions],
        starts_anew=not changes.whole,
        moved=_movements(changes) if changes.accounts else None,
    )
    return shown.SerializeToString()


def _movements(changes: Changes) -> calls.Movements:
    """Column by column: a step of Python for each posting would cost half of what moving it costs."""
    books, numbers = changes.books, changes.accounts
    assets, debt = books.assets, books.debt
    place = dict(zip(numbers, range(len(numbers)), strict=True))
    moved = calls.Movements(
        accounts=map(books.names.__getitem__, numbers),
        balances=map(books.balance.__getitem__, numbers),
        held=map(books.held.__getitem__, numbers),
        other_assets={at: assets[number] for number, at in place.items() if assets[number] != SAT},
        debts_sats={at: debt[number] for number, at in place.items() if number in debt},
        first_posting=changes.first_posting,
    )
    if changes.postings:
        ids, debits, credits_, amounts, memos, *_ = zip(*changes.postings, strict=True)
        moved.transfer_ids.extend(ids)
        moved.debits.extend(map(place.__getitem__, debits))
        moved.credits.extend(map(place.__getitem__, credits_))
        moved.amounts.extend(amounts)
        moved.memos.extend(memos)
    return moved


def _parameters(view: Parameters) -> pb.Parameters:
    return pb.Parameters(
        version=view.version,
        platform_fee_bp=view.platform_fee_bp,
        instant_bp=view.instant_bp,
        creator_bp=view.creator_bp,
        winner_bp=view.winner_bp,
        ranks_paid=view.ranks_paid,
        payout_min_sats=view.payout_min_sats,
        second_price_sats=view.second_price_sats,
        free_below_s=view.free_below_s,
        session_max_s=view.session_max_s,
        scored_seconds_max=view.scored_seconds_max,
    )


def _payout(view: Payout) -> pb.PoolPayout:
    return pb.PoolPayout(
        rank=view.rank,
        meme_id=view.meme_id,
        user_id=view.user_id,
        amount_sats=view.amount_sats,
        transfer_id=view.transfer_id,
    )
