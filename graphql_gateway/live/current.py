"""The current round and its leaderboard, kept as the news of rounds tell them."""

from __future__ import annotations

from typing import Any

from satreel.rounds.v1 import rounds_pb2
from satreel.rounds.v1 import rounds_service_pb2 as pb
from satreel.rounds.v1.rounds_service_pb2_grpc import RoundsServiceStub

from graphql_gateway.live.watch import Watch

# As the contract has it.
LINES_DEFAULT = 20


class CurrentRound:
    """What the news say it is. None: they have not said."""

    def __init__(self) -> None:
        self.round: rounds_pb2.Round | None = None
        self.leaderboard: rounds_pb2.Leaderboard | None = None

    def take(self, news: pb.WatchRoundsResponse) -> None:
        """A snapshot or an event."""
        if news.WhichOneof("news") == "snapshot":
            self.round = self.leaderboard = None
        told = news.snapshot if news.WhichOneof("news") == "snapshot" else news.event
        if told.HasField("round"):
            self._take_round(told.round)
        if told.HasField("leaderboard") and self.round and told.leaderboard.round_id == self.round.id:
            self.leaderboard = told.leaderboard

    def _take_round(self, told: rounds_pb2.Round) -> None:
        if self.round is not None and told.number < self.round.number:
            # Of an earlier one.
            return
        # Standings are told once a round has opened; until then entries come without them.
        if self.round is None or told.id != self.round.id or not told.HasField("anchor"):
            self.leaderboard = None
        self.round = told


class RoundsByNews:
    """The stub of rounds, but what the news tell is not asked for as long as they come."""

    def __init__(
        self, rounds: RoundsServiceStub, watch: Watch[pb.WatchRoundsResponse], current: CurrentRound
    ) -> None:
        self._rounds = rounds
        self._watch = watch
        self._current = current

    def __getattr__(self, method: str) -> Any:
        return getattr(self._rounds, method)

    async def GetCurrentRound(  # noqa: N802 - as in the contract
        self, request: pb.GetCurrentRoundRequest
    ) -> pb.GetCurrentRoundResponse:
        """As the service answers. Raises as it does."""
        known = self._current.round
        if known is None or not self._watch.is_live:
            return await self._rounds.GetCurrentRound(request)
        return pb.GetCurrentRoundResponse(round=known)

    async def GetLeaderboard(  # noqa: N802 - as in the contract
        self, request: pb.GetLeaderboardRequest
    ) -> pb.GetLeaderboardResponse:
        """As the service answers. Raises as it does."""
        known = self._current.leaderboard
        if known is None or known.round_id != request.round_id or not self._watch.is_live:
            return await self._rounds.GetLeaderboard(request)
        lines = known.standings[: request.limit or LINES_DEFAULT]
        told = rounds_pb2.Leaderboard(
            round_id=known.round_id, at=known.at, standings=lines, final=known.final
        )
        return pb.GetLeaderboardResponse(leaderboard=told)
