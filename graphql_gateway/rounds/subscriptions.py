"""What changes about rounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import strawberry
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2

from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Round, Subscription
from graphql_gateway.live.telling import ITSELF, Delivery, Telling
from graphql_gateway.proto import shown
from graphql_gateway.rounds.queries import find_current_round
from graphql_gateway.rounds.types import Leaderboard
from graphql_gateway.safety.declared import SAME_FOR_ALL
from graphql_gateway.services import Services
from mesh.errors import RemoteFailure

T = TypeVar("T")

_STANDINGS_MAX = 100
_RUNNING = {rounds_pb2.ROUND_STATE_ACTIVE, rounds_pb2.ROUND_STATE_CALCULATING}
_Told = rounds_pb2.Round | rounds_pb2.Leaderboard


@part_of(Subscription)
class RoundsSubscription:
    """Live rounds."""

    @strawberry.subscription(
        description="The current round now, and again whenever a round changes its state, anchor or entries. "
        f"{Delivery.STATES.value}",
        metadata=SAME_FOR_ALL | Delivery.STATES.metadata,
    )
    async def round_updated(self, info: Info) -> AsyncIterator[Round]:
        """Ends never."""
        context = info.context
        with context.live.rounds.subscribe("round", newest_of=lambda event: event.round.id) as news:
            current = told = await find_current_round(context.services)
            if told is not None:
                context.telling = Telling(told.id, position=news.position)
                yield shown(Round, told)
            async for one in news:
                changed = _changed(one)
                if changed.HasField("round") and not _repeats(one, changed.round, told):
                    told = changed.round
                    await context.renew()
                    # `now` may be of later news than the event.
                    here = news.position
                    if told.state in _RUNNING:
                        current = told
                    elif current is None or told.id == current.id:
                        here = context.live.rounds.position
                        current = await _if_known(find_current_round(context.services))
                    now = ITSELF if current == told else current and shown(Round, current)
                    context.telling = Telling(told.id, now, news.position, here)
                    yield shown(Round, told)

    @strawberry.subscription(
        description="Standings of the current round now, and at most once a second when they move. "
        f"{Delivery.STATES.value}",
        metadata=SAME_FOR_ALL | Delivery.STATES.metadata,
    )
    async def leaderboard_updated(self, info: Info) -> AsyncIterator[Leaderboard]:
        """Ends never."""
        context = info.context
        with context.live.rounds.subscribe(
            "leaderboard", newest_of=lambda event: event.leaderboard.round_id
        ) as news:
            told = await _find_leaderboard(context.services)
            if told is not None:
                context.telling = Telling(told.round_id, position=news.position)
                yield shown(Leaderboard, told)
            async for one in news:
                changed = _changed(one)
                if changed.HasField("leaderboard") and not _repeats(one, changed.leaderboard, told):
                    told = changed.leaderboard
                    await context.renew()
                    here: int = news.position
                    current: rounds_pb2.Leaderboard | None = told
                    if told.final:
                        # Who joins now follows the round that is on.
                        here = context.live.rounds.position
                        current = await _if_known(_find_leaderboard(context.services))
                    now = ITSELF if current == told else current and shown(Leaderboard, current)
                    context.telling = Telling(told.round_id, now, news.position, here)
                    yield shown(Leaderboard, told)


async def _if_known(found: Awaitable[T | None]) -> T | None:
    """None, too, if the service is away: who follows is told the news all the same."""
    try:
        return await found
    except RemoteFailure:
        return None


def _changed(
    news: rounds_service_pb2.WatchRoundsResponse,
) -> rounds_service_pb2.RoundsSnapshot | rounds_service_pb2.RoundsEvent:
    return news.snapshot if news.WhichOneof("news") == "snapshot" else news.event


def _repeats(news: rounds_service_pb2.WatchRoundsResponse, now: _Told, told: _Told | None) -> bool:
    """Whether an event says what was told: it was on its way then. After a gap all is said anew."""
    return news.WhichOneof("news") == "event" and told is not None and _undated(now) == _undated(told)


def _undated(told: _Told) -> _Told:
    if not isinstance(told, rounds_pb2.Leaderboard):
        return told
    return rounds_pb2.Leaderboard(round_id=told.round_id, standings=told.standings, final=told.final)


async def _find_leaderboard(services: Services) -> rounds_pb2.Leaderboard | None:
    current = await find_current_round(services)
    if current is None:
        return None
    request = rounds_service_pb2.GetLeaderboardRequest(round_id=current.id, limit=_STANDINGS_MAX)
    return (await services.rounds.GetLeaderboard(request)).leaderboard
