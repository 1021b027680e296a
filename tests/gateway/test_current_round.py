"""The current round and its leaderboard are read from the news of rounds as long as they come."""

from __future__ import annotations

from typing import Any

import pytest
from satreel.rounds.v1 import rounds_pb2
from satreel.rounds.v1 import rounds_service_pb2 as pb

from graphql_gateway.live.current import CurrentRound
from graphql_gateway.live.watch import SILENCE_MAX_S
from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway import fakes
from tests.gateway.client import Client
from tests.gateway.world import World, until

CURRENT = "{ currentRound { number state takingsSats leaderboard(limit: 2) { final standings { score } } } }"
CALLS = ("GetCurrentRound", "GetLeaderboard")

Pending, Active = rounds_pb2.ROUND_STATE_PENDING, rounds_pb2.ROUND_STATE_ACTIVE
ANCHOR = rounds_pb2.Anchor(height=7)


def round_of(number: int, *, anchor: rounds_pb2.Anchor | None = ANCHOR, **given: Any) -> rounds_pb2.Round:
    given.setdefault("id", f"round {number}")
    return rounds_pb2.Round(number=number, state=Active if anchor else Pending, anchor=anchor, **given)


def board_of(round_id: str, *scores: int) -> rounds_pb2.Leaderboard:
    lines = [rounds_pb2.Standing(rank=rank, score=score) for rank, score in enumerate(scores, 1)]
    return rounds_pb2.Leaderboard(round_id=round_id, at=fakes.AT, standings=lines)


def event(**subject: Any) -> pb.WatchRoundsResponse:
    return pb.WatchRoundsResponse(cursor="r1", event=pb.RoundsEvent(id=uuid7(), at=fakes.AT, **subject))


def snapshot(**state: Any) -> pb.WatchRoundsResponse:
    return pb.WatchRoundsResponse(cursor="r1", snapshot=pb.RoundsSnapshot(**state))


def told(*news: pb.WatchRoundsResponse) -> tuple[int | None, list[int] | None]:
    """Number of the round and scores, as the news leave them."""
    current = CurrentRound()
    for one in news:
        current.take(one)
    board = current.leaderboard
    scores = None if board is None else [line.score for line in board.standings]
    return current.round and current.round.number, scores


@pytest.mark.parametrize(
    ("news", "expected"),
    [
        ([snapshot()], (None, None)),
        ([snapshot(round=round_of(1), leaderboard=board_of("round 1", 5))], (1, [5])),
        ([event(leaderboard=board_of("round 1", 5))], (None, None)),
        ([event(round=round_of(1)), event(leaderboard=board_of("round 1", 5))], (1, [5])),
        ([event(round=round_of(1)), event(leaderboard=board_of("round 2", 5))], (1, None)),
        (
            [
                snapshot(round=round_of(1), leaderboard=board_of("round 1", 5)),
                event(round=round_of(1, takings_sats=3)),
            ],
            (1, [5]),
        ),
        (
            [snapshot(round=round_of(1), leaderboard=board_of("round 1", 5)), event(round=round_of(2))],
            (2, None),
        ),
        ([event(round=round_of(2)), event(round=round_of(1))], (2, None)),
        (
            # Entries come while it is pending, and no standings are told with them.
            [
                snapshot(round=round_of(1, anchor=None), leaderboard=board_of("round 1")),
                event(round=round_of(1, anchor=None, entries=1)),
            ],
            (1, None),
        ),
        ([event(round=round_of(2)), snapshot()], (None, None)),
    ],
)
def test_what_the_news_say(
    news: list[pb.WatchRoundsResponse], expected: tuple[int | None, list[int] | None]
) -> None:
    assert told(*news) == expected


async def test_what_the_news_tell_is_not_asked_for(world: World, client: Client) -> None:
    played = world.round(number=1)
    world.rounds.boards[played.id] = board_of(played.id, 3, 2, 1)
    world.rounds.boards[played.id].final = True
    by_calls = await client.ask(CURRENT)
    assert [len(world.log.of(name)) for name in CALLS] == [1, 1]
    world.rounds.feed.publish(event(round=played))
    world.rounds.feed.publish(event(leaderboard=world.rounds.boards[played.id]))
    await until(lambda: world.live.current_round.leaderboard)
    assert await client.ask(CURRENT.replace("{ currentRound", "query News { currentRound")) == {
        "currentRound": {
            **by_calls["currentRound"],
            "leaderboard": {"final": True, "standings": [{"score": 3}, {"score": 2}]},
        }
    }
    assert [len(world.log.of(name)) for name in CALLS] == [1, 1]


async def test_a_round_shows_at_once(world: World, client: Client) -> None:
    for number in range(1, 4):
        world.rounds.feed.publish(event(round=round_of(number, takings_sats=number)))
        await until(lambda: (known := world.live.current_round.round) and known.number == number)  # noqa: B023 - awaited here
        told = await client.ask("{ currentRound { number takingsSats } }")
        assert told == {"currentRound": {"number": number, "takingsSats": number}}
    assert not world.log.of("GetCurrentRound")


async def test_subscriptions_begin_with_what_the_news_told(world: World, client: Client) -> None:
    world.rounds.feed.publish(event(round=round_of(4)))
    world.rounds.feed.publish(event(leaderboard=board_of("round 4", 9)))
    await until(lambda: world.live.current_round.leaderboard)
    async with client.socket() as socket:
        await socket.subscribe("subscription { roundUpdated { number } }", as_id="round")
        assert await socket.data() == {"roundUpdated": {"number": 4}}
        await socket.subscribe("subscription { leaderboardUpdated { standings { score } } }", as_id="board")
        assert await socket.data() == {"leaderboardUpdated": {"standings": [{"score": 9}]}}
    assert not any(world.log.of(name) for name in CALLS)


async def test_without_news_rounds_is_asked(world: World, client: Client) -> None:
    world.rounds.feed.heartbeat_s = None
    world.rounds.feed.publish(event(round=round_of(1)))
    await until(lambda: world.live.current_round.round)
    world.round(number=2)
    world.rounds.feed.break_streams()
    await until(lambda: not world.live.rounds.is_live)
    assert await client.ask("{ currentRound { number } }") == {"currentRound": {"number": 2}}
    world.log.failing["GetCurrentRound"] = Unavailable("rounds is away")
    assert (await client.fail("{ currentRound { id number } }"))["code"] == "UNAVAILABLE"


async def test_a_silent_stream_tells_nothing(world: World, client: Client) -> None:
    world.rounds.feed.heartbeat_s = None
    world.rounds.feed.publish(event(round=round_of(1)))
    await until(lambda: world.live.current_round.round)
    world.round(number=2)
    world.passes(SILENCE_MAX_S)
    assert world.live.rounds.version is None
    assert await client.ask("{ currentRound { number } }") == {"currentRound": {"number": 2}}
