"""The demo's round: five viewers watch three films; meanwhile titles are sold and a film is loaded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from sandbox.demo_trading import trade
from sandbox.people import Person, Viewing
from sandbox.report import Report
from sandbox.town import ROUND_UPDATED, Town

BUDGET_SATS = 3_600
FREE_BELOW_S = 3
WATCHER_OF_FILM = (0, 0)

LEADERBOARD = """subscription Leaderboard {
  leaderboardUpdated { final standings { rank score paidSeconds viewers takingsSats meme { id name } } }
}"""


@dataclass(slots=True)
class _Seen:
    """What the sockets told of the round."""

    rounds: list[dict[str, Any]] = field(default_factory=list)
    boards: list[Any] = field(default_factory=list)

    def round_in(self, state: str) -> dict[str, Any] | None:
        """The first event of a round in a state."""
        return next((found for found in self.rounds if found["state"] == state), None)

    async def follow_rounds(self, person: Person) -> None:
        """For as long as it is not cancelled."""
        async for event in person.client.follow(ROUND_UPDATED):
            self.rounds.append(event["roundUpdated"])

    async def follow_leaderboard(self, person: Person) -> None:
        """For as long as it is not cancelled."""
        async for event in person.client.follow(LEADERBOARD):
            standings = event["leaderboardUpdated"]["standings"]
            if not self.boards or self.boards[-1] != standings:
                self.boards.append(standings)


async def play_round(town: Town) -> str:
    """From the block that opens it until it is over; gives its id."""
    seen = _Seen()
    async with asyncio.TaskGroup() as group:
        followers = [
            group.create_task(seen.follow_rounds(town.admin)),
            group.create_task(seen.follow_leaderboard(town.viewers[0])),
        ]

        async def entered() -> bool:
            return any(found["entryCount"] >= len(town.memes) for found in seen.rounds)

        async def active() -> dict[str, Any] | None:
            return seen.round_in("ACTIVE")

        async def completed() -> dict[str, Any] | None:
            return seen.round_in("COMPLETED")

        # Published is not yet entered: a block at once would open the round without them.
        await town.until("the memes are entries of the round to come", entered)
        played = await town.mine_until("a block opens the round", active)
        town.report.step(f"the round opened at block {played['anchor']['height']} {played['anchor']['hash']}")
        viewings, film = await _watch(town)
        await town.until("the round is over", completed)
        for task in followers:
            task.cancel()
    _check_round(town.report, seen, played["id"], viewings)
    town.report.check("the film is served within the viewing, and only then", film == [206, 403], film)
    return str(played["id"])


def _check_round(report: Report, seen: _Seen, round_id: str, viewings: list[Viewing]) -> None:
    paid = sum(viewing.burned_sats for viewing in viewings)
    report.step(f"{len(viewings)} viewings burned {paid} sat")
    exact = all(v.burned_sats == (v.seconds if v.seconds >= FREE_BELOW_S else 0) for v in viewings)
    report.check("viewers paid one satoshi per full second", paid > 0 and exact, viewings)
    report.check("the leaderboard moved while they watched", len(seen.boards) > 2, len(seen.boards))
    states = list(dict.fromkeys(found["state"] for found in seen.rounds if found["id"] == round_id))
    way = ["ACTIVE", "CALCULATING", "COMPLETED"]
    report.check("the round went ACTIVE, CALCULATING, COMPLETED", states[-3:] == way, states)


async def _watch(town: Town) -> tuple[list[Viewing], list[int]]:
    """Five viewers watch three films each; meanwhile titles are sold, and one viewer loads the film."""
    round_s, first = town.house.settings.round_s, Viewing()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                viewer.watch(
                    meme_id,
                    BUDGET_SATS,
                    at_most_s=_length_s(v, m, round_s),
                    viewing=first if (v, m) == WATCHER_OF_FILM else None,
                )
            )
            for v, viewer in enumerate(town.viewers)
            for m, meme_id in enumerate(town.memes)
        ]
        film = group.create_task(_load_film(town, first))
        group.create_task(trade(town))
    return [task.result() for task in tasks], film.result()


def _length_s(viewer: int, meme: int, round_s: float) -> float:
    """The first film is everybody's favourite and watched to the end; the others are left earlier."""
    return round_s * 2 if meme == 0 else max(4.5, round_s * (0.9 - 0.1 * meme - 0.1 * viewer))


async def _load_film(town: Town, viewing: Viewing) -> list[int]:
    """HTTP status of a part of the film, within the viewing and after it."""
    client = town.viewers[0].client

    async def begun() -> str:
        return viewing.film_url

    async def ended() -> str | None:
        return viewing.stop_reason

    await town.until("the viewing begins", begun)
    within, _ = await client.get(viewing.film_url, Range="bytes=0-1023")
    await town.until("the viewing ends with the round", ended)
    after, _ = await client.get(viewing.film_url, Range="bytes=0-1023")
    return [within, after]
