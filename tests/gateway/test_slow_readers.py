"""Who reads slowly, over real connections: told the newest state and how many were left out; others notice
nothing.
"""

from __future__ import annotations

from typing import Any

import pytest
from satreel.rounds.v1 import rounds_pb2

from tests.gateway import fakes
from tests.gateway.client import Client, Events, Socket
from tests.gateway.test_subscriptions import round_news
from tests.gateway.world import World

BOARD = "subscription { leaderboardUpdated { standings { score meme { name } } } }"
# Together more than sockets of the system take.
STANDINGS, NAME_CHARS, EVENTS = 100, 5_000, 25


@pytest.mark.parametrize("over", ["a socket", "an event stream"])
async def test_who_reads_slowly_is_told_the_newest_state(world: World, client: Client, over: str) -> None:
    played, meme = world.round(), world.meme("c" * NAME_CHARS, world.user("ada"))
    board = world.rounds.boards[played.id]
    board.standings.extend(rounds_pb2.Standing(rank=1, meme_id=meme.id) for _ in range(STANDINGS))
    async with client.socket() as quick, client.socket() as socket, client.events(BOARD) as events:
        slow: Socket | Events = socket if over == "a socket" else events
        await socket.subscribe(BOARD)
        await quick.subscribe(BOARD)
        for one in (quick, socket, events):
            await one.data()
        slow.stop_reading()
        for number in range(1, EVENTS + 1):
            board.standings[0].score = number
            board.at.CopyFrom(fakes.AT)
            world.rounds.feed.publish(round_news(leaderboard=board))
            assert score_of(await quick.data()) == number
        slow.go_on_reading()
        scores, left_out = [0], 0
        while scores[-1] < EVENTS:
            payload = await payload_of(slow)
            scores.append(score_of(payload["data"]))
            left_out += payload.get("extensions", {}).get("conflated", 0)
        assert scores == sorted(set(scores))
        assert left_out > 0
        assert len(scores) - 1 + left_out == EVENTS


def score_of(data: Any) -> int:
    return int(data["leaderboardUpdated"]["standings"][0]["score"])


async def payload_of(reader: Socket | Events) -> Any:
    return (await reader.next())["payload"] if isinstance(reader, Socket) else (await reader.next())[1]
