"""A simple rounds service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2, rounds_service_pb2_grpc

from tests.gateway.fakes.base import Feed, Log, found, missing


class FakeRounds(rounds_service_pb2_grpc.RoundsServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.rounds: dict[str, rounds_pb2.Round] = {}
        self.boards: dict[str, rounds_pb2.Leaderboard] = {}
        self.current = ""
        self.feed = Feed(self._snapshot)

    def _snapshot(self) -> Message:
        snapshot = rounds_service_pb2.RoundsSnapshot(
            round=self.rounds.get(self.current), leaderboard=self.boards.get(self.current)
        )
        return rounds_service_pb2.WatchRoundsResponse(cursor="r0", snapshot=snapshot)

    async def GetCurrentRound(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if not self.current:
            raise missing("NO_CURRENT_ROUND")
        return rounds_service_pb2.GetCurrentRoundResponse(round=self.rounds[self.current])

    async def BatchGetRounds(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return rounds_service_pb2.BatchGetRoundsResponse(rounds=found(self.rounds, request.round_ids))

    async def GetLeaderboard(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return rounds_service_pb2.GetLeaderboardResponse(leaderboard=self.boards[request.round_id])

    async def WatchRounds(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news
