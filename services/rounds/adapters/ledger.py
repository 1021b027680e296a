"""The ledger, as rounds sees it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import asdict

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from mesh.errors import Code, RemoteFailure
from services.rounds.app.ports import LedgerNews, RoundRefused
from services.rounds.domain.values import (
    Distribution,
    InstantNs,
    MemeId,
    MemeTally,
    Payout,
    Round,
    RoundId,
    Sats,
    UserId,
)

# Refusals of OpenRound that no repeat can change.
_NEVER = frozenset({"ROUND_INVALID", "CREATOR_MISMATCH", "TITLE_NOT_FOUND", "ID_REUSED"})


class LedgerClient:
    """Money and metering of a round."""

    def __init__(self, stub: ledger_service_pb2_grpc.LedgerServiceStub) -> None:
        self._stub = stub

    async def open_round(self, round_: Round) -> Sats:
        """Opens the round for metering; returns what was carried in. Raises RoundRefused."""
        try:
            response = await self._stub.OpenRound(_opening(round_))
        except RemoteFailure as refused:
            if refused.reason in _NEVER:
                raise RoundRefused(refused.reason) from refused
            raise
        return Sats(response.round.carried_in_sats)

    async def lock_round(self, round_id: RoundId) -> tuple[MemeTally, ...]:
        """Ends metering; returns the final tally."""
        response = await self._stub.LockRound(ledger_service_pb2.LockRoundRequest(round_id=round_id))
        return _tally(response.round)

    async def distribute(self, round_id: RoundId, ranking: tuple[MemeId, ...]) -> Distribution:
        """Pays the pool."""
        response = await self._stub.DistributePool(
            ledger_service_pb2.DistributePoolRequest(round_id=round_id, ranking=ranking)
        )
        asked = ledger_service_pb2.GetRoundRecordRequest(round_id=round_id)
        recorded = await self._stub.GetRoundRecord(asked)
        return Distribution(
            carried_in_sats=Sats(response.round.carried_in_sats),
            pool_sats=Sats(response.round.pool_sats),
            payouts=tuple(
                Payout(paid.rank, MemeId(paid.meme_id), UserId(paid.user_id), Sats(paid.amount_sats))
                for paid in response.round.payouts
            ),
            carried_out_sats=Sats(response.round.carried_out_sats),
            record_sha256=_final(recorded.record),
        )

    async def void_round(self, round_id: RoundId, reason: str) -> bool:
        """Pays viewers back; False when the pool was paid before."""
        try:
            await self._stub.VoidRound(ledger_service_pb2.VoidRoundRequest(round_id=round_id, reason=reason))
        except RemoteFailure as refused:
            if refused.code is not Code.FAILED_PRECONDITION:
                raise
            found = await self._stub.GetRound(ledger_service_pb2.GetRoundRequest(round_id=round_id))
            if found.round.state != ledger_pb2.ROUND_STATE_DISTRIBUTED:
                raise
            return False
        return True

    async def tally(self, round_id: RoundId) -> tuple[MemeTally, ...] | None:
        """What was taken so far; None for a round the ledger does not know."""
        try:
            response = await self._stub.GetRound(ledger_service_pb2.GetRoundRequest(round_id=round_id))
        except RemoteFailure as unknown:
            if unknown.code is Code.NOT_FOUND:
                return None
            raise
        return _tally(response.round)

    async def watch(self, cursor: str) -> AsyncGenerator[LedgerNews, None]:
        """Tallies from the cursor on."""
        request = ledger_service_pb2.WatchLedgerRequest(cursor=cursor)
        async for response in self._stub.WatchLedger(request):
            round_, event = response.snapshot.round, response.event
            match response.WhichOneof("news"):
                case "snapshot" if response.snapshot.HasField("round"):
                    yield LedgerNews(response.cursor, RoundId(round_.round_id), _tally(round_), whole=True)
                case "event" if event.tallies:
                    rows = tuple(_row(row) for row in event.tallies)
                    yield LedgerNews(response.cursor, RoundId(event.round_id), rows, whole=False)


def _opening(round_: Round) -> ledger_service_pb2.OpenRoundRequest:
    return ledger_service_pb2.OpenRoundRequest(
        round_id=round_.id,
        parameters=ledger_pb2.Parameters(**asdict(round_.rules)),
        starts_at=_timestamp(round_.starts_at_ns),
        locks_at=_timestamp(round_.locks_at_ns),
        entries=[
            ledger_pb2.RoundEntry(
                meme_id=entry.meme_id, creator_id=entry.creator_id, quality_ppm=entry.quality_ppm
            )
            for entry in round_.entries
        ],
    )


def _final(record: ledger_pb2.RoundRecord) -> str:
    """The hash of the record, which says that it will not change any more. Raises RemoteFailure when not."""
    state = json.loads(record.json)["round"]["state"]
    if state != "DISTRIBUTED":
        raise RemoteFailure(Code.UNAVAILABLE, "TOO_STALE", f"the record of a paid round says {state}")
    return record.sha256


def _tally(round_: ledger_pb2.LedgerRound) -> tuple[MemeTally, ...]:
    return tuple(_row(row) for row in round_.tallies)


def _row(row: ledger_pb2.MemeTally) -> MemeTally:
    return MemeTally(
        meme_id=MemeId(row.meme_id),
        paid_seconds=row.paid_seconds,
        takings_sats=Sats(row.takings_sats),
        fee_sats=Sats(row.fee_sats),
        creator_sats=Sats(row.creator_sats),
        owner_sats=Sats(row.owner_sats),
        pool_sats=Sats(row.pool_sats),
        scored_seconds=row.scored_seconds,
        viewers=row.viewers,
        first_view_ns=InstantNs(row.first_view_at.ToNanoseconds()) if row.HasField("first_view_at") else None,
        running_sessions=row.running_sessions,
    )


def _timestamp(instant_ns: InstantNs | None) -> Timestamp | None:
    if instant_ns is None:
        return None
    found = Timestamp()
    found.FromNanoseconds(instant_ns)
    return found
