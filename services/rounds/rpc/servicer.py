"""The servicer of satreel.rounds.v1.RoundsService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from satreel.rounds.v1 import rounds_service_pb2 as messages
from satreel.rounds.v1 import rounds_service_pb2_grpc

from mesh.feeds import Feed, responses
from services.rounds.app.service import RoundsService
from services.rounds.domain.assignment import ENTRIES_MAX
from services.rounds.domain.failures import NoCurrentRound
from services.rounds.domain.values import RoundId
from services.rounds.rpc.mapping import entry_message, leaderboard_message, result_message, round_message

Context = Any


class RoundsServicer(rounds_service_pb2_grpc.RoundsServiceServicer):
    """Answers calls; the rules are in the service it is given."""

    def __init__(self, service: RoundsService, feed: Feed) -> None:
        self._service = service
        self._feed = feed

    async def GetCurrentRound(
        self, request: messages.GetCurrentRoundRequest, context: Context
    ) -> messages.GetCurrentRoundResponse:
        return messages.GetCurrentRoundResponse(round=round_message(await self._service.current()))

    async def GetRound(
        self, request: messages.GetRoundRequest, context: Context
    ) -> messages.GetRoundResponse:
        view = await self._service.get(RoundId(request.round_id))
        return messages.GetRoundResponse(round=round_message(view))

    async def BatchGetRounds(
        self, request: messages.BatchGetRoundsRequest, context: Context
    ) -> messages.BatchGetRoundsResponse:
        views = await self._service.batch_get([RoundId(round_id) for round_id in request.round_ids])
        return messages.BatchGetRoundsResponse(rounds=[round_message(view) for view in views])

    async def ListRounds(
        self, request: messages.ListRoundsRequest, context: Context
    ) -> messages.ListRoundsResponse:
        views, token = await self._service.page(request.page_size, request.page_token)
        return messages.ListRoundsResponse(
            rounds=[round_message(view) for view in views], next_page_token=token
        )

    async def ListEntries(
        self, request: messages.ListEntriesRequest, context: Context
    ) -> messages.ListEntriesResponse:
        round_id = RoundId(request.round_id)
        entries = await self._service.entries(round_id)
        return messages.ListEntriesResponse(entries=[entry_message(round_id, entry) for entry in entries])

    async def GetLeaderboard(
        self, request: messages.GetLeaderboardRequest, context: Context
    ) -> messages.GetLeaderboardResponse:
        board = await self._service.leaderboard(RoundId(request.round_id), request.limit)
        return messages.GetLeaderboardResponse(leaderboard=leaderboard_message(board))

    async def GetResult(
        self, request: messages.GetResultRequest, context: Context
    ) -> messages.GetResultResponse:
        view, board = await self._service.result(RoundId(request.round_id))
        return messages.GetResultResponse(result=result_message(view, board))

    async def VoidRound(
        self, request: messages.VoidRoundRequest, context: Context
    ) -> messages.VoidRoundResponse:
        view = await self._service.void(RoundId(request.round_id), request.reason)
        return messages.VoidRoundResponse(round=round_message(view))

    async def WatchRounds(
        self, request: messages.WatchRoundsRequest, context: Context
    ) -> AsyncIterator[messages.WatchRoundsResponse]:
        told = responses(self._feed, request.cursor, messages.WatchRoundsResponse, snapshot=self._snapshot)
        async with aclosing(told):
            async for response in told:
                yield response

    async def _snapshot(self) -> messages.RoundsSnapshot:
        try:
            view = await self._service.current()
        except NoCurrentRound:
            return messages.RoundsSnapshot()
        board = await self._service.leaderboard(view.round.id, ENTRIES_MAX)
        return messages.RoundsSnapshot(round=round_message(view), leaderboard=leaderboard_message(board))
