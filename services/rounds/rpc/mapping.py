"""Domain values as messages of the contract."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.rounds.v1 import rounds_pb2

from services.rounds.app.ports import Leaderboard, RoundView
from services.rounds.domain.ranking import Standing
from services.rounds.domain.values import Entry, InstantNs, RoundId, State

_STATES = {state: rounds_pb2.RoundState.Value(f"ROUND_STATE_{state}") for state in State}


def timestamp(instant_ns: InstantNs | None) -> Timestamp | None:
    """An instant; None stays absent."""
    if instant_ns is None:
        return None
    message = Timestamp()
    message.FromNanoseconds(instant_ns)
    return message


def round_message(view: RoundView) -> rounds_pb2.Round:
    """A round with its sums."""
    round_, anchor = view.round, view.round.anchor
    return rounds_pb2.Round(
        id=round_.id,
        number=round_.number,
        state=_STATES[round_.state],
        anchor=rounds_pb2.Anchor(height=anchor.height, hash=anchor.hash, orphaned_hashes=anchor.orphaned)
        if anchor
        else None,
        starts_at=timestamp(round_.starts_at_ns),
        locks_at=timestamp(round_.locks_at_ns),
        ended_at=timestamp(round_.ended_at_ns),
        rules_version=round_.rules.version,
        entries=len(round_.entries),
        takings_sats=view.totals.takings_sats,
        pool_sats=_pool_sats(view),
        result_txid=round_.txid,
        void_reason=round_.void_reason if round_.state is State.VOIDED else "",
        paid_seconds=view.totals.paid_seconds,
    )


def entry_message(round_id: RoundId, entry: Entry) -> rounds_pb2.Entry:
    """A meme in a round."""
    return rounds_pb2.Entry(
        round_id=round_id,
        meme_id=entry.meme_id,
        creator_id=entry.creator_id,
        quality_ppm=entry.quality_ppm,
        assigned_at=timestamp(entry.assigned_at_ns),
    )


def leaderboard_message(board: Leaderboard) -> rounds_pb2.Leaderboard:
    """Standings at one time."""
    return rounds_pb2.Leaderboard(
        round_id=board.round_id,
        at=timestamp(board.at_ns),
        standings=[_standing(line) for line in board.standings],
        final=board.final,
    )


def result_message(view: RoundView, board: Leaderboard) -> rounds_pb2.Result:
    """A completed round, enough to recompute every payout."""
    round_, distribution = view.round, view.round.distribution
    return rounds_pb2.Result(
        round=round_message(view),
        standings=[_standing(line) for line in board.standings],
        fee_sats=view.totals.fee_sats,
        creators_sats=view.totals.creator_sats,
        owners_sats=view.totals.owner_sats,
        pool_sats=distribution.pool_sats if distribution else 0,
        carried_in_sats=distribution.carried_in_sats if distribution else 0,
        carried_out_sats=distribution.carried_out_sats if distribution else 0,
        txid=round_.txid,
        record_json=round_.record_json,
    )


def _standing(line: Standing) -> rounds_pb2.Standing:
    tally = line.tally
    return rounds_pb2.Standing(
        rank=line.rank,
        meme_id=tally.meme_id,
        creator_id=line.creator_id,
        score=line.score,
        scored_seconds=tally.scored_seconds,
        paid_seconds=tally.paid_seconds,
        viewers=tally.viewers,
        running_sessions=tally.running_sessions,
        takings_sats=tally.takings_sats,
        payout_sats=line.payout_sats,
    )


def _pool_sats(view: RoundView) -> int:
    round_ = view.round
    if round_.state in (State.PENDING, State.VOIDED):
        return 0
    if round_.distribution:
        return round_.distribution.pool_sats
    return round_.carried_in_sats + view.totals.pool_sats
