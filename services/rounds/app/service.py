"""What others may ask of rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from mesh.clock import Clock
from mesh.errors import IdReused, Unavailable
from mesh.pages import PageTokenInvalid, page_token, read_page_token
from services.rounds.app.driver import Driver
from services.rounds.app.ports import Leaderboard, Rounds, RoundView
from services.rounds.domain import events
from services.rounds.domain.failures import NoCurrentRound, RoundNotFound, StateConflict
from services.rounds.domain.values import Entry, Round, RoundId, State

PAGE_DEFAULT = 50
PAGES = "rounds"
LINES_DEFAULT = 20
# A round that is to be voided waits this long for the ledger's answer; it is undone later all the same.
VOID_WAIT_S = 20.0


class RoundsService:
    """Reads of rounds, and their undoing."""

    def __init__(self, *, rounds: Rounds, driver: Driver, clock: Clock) -> None:
        self._rounds = rounds
        self._driver = driver
        self._clock = clock

    async def current(self) -> RoundView:
        """The round that is active or calculating, else the pending one. Raises NoCurrentRound."""
        round_ = self._driver.current
        if round_ is None:
            raise NoCurrentRound
        return self._view(round_)

    async def get(self, round_id: RoundId) -> RoundView:
        """A round. Raises RoundNotFound."""
        return self._view(await self._read(round_id))

    async def batch_get(self, round_ids: Sequence[RoundId]) -> list[RoundView]:
        """Those that exist, in the order asked."""
        return [self._view(stored.round) for stored in await self._rounds.by_ids(round_ids)]

    async def page(self, size: int, token: str) -> tuple[list[RoundView], str]:
        """Rounds, newest first, and the token of the next page. Raises PageTokenInvalid."""
        place = read_page_token(PAGES, token)
        below = _number(place) if place else await self._end()
        found = await self._rounds.before(below, size or PAGE_DEFAULT)
        last = found[-1].round.number if found else 1
        return [self._view(stored.round) for stored in found], page_token(
            PAGES, str(last) if last > 1 else ""
        )

    async def entries(self, round_id: RoundId) -> tuple[Entry, ...]:
        """The entries of a round in the order assigned. Raises RoundNotFound."""
        return (await self._read(round_id)).entries

    async def leaderboard(self, round_id: RoundId, lines: int) -> Leaderboard:
        """Standings, live or final, the best `lines` of them. Raises RoundNotFound."""
        board = self._driver.board.leaderboard(await self._read(round_id))
        return replace(board, standings=board.standings[: lines or LINES_DEFAULT])

    async def result(self, round_id: RoundId) -> tuple[RoundView, Leaderboard]:
        """A completed round and its final standings. Raises RoundNotFound, StateConflict."""
        round_ = await self._read(round_id)
        if round_.state is not State.COMPLETED:
            raise StateConflict("the round has no result", state=round_.state)
        return self._view(round_), self._driver.board.leaderboard(round_)

    async def void(self, round_id: RoundId, reason: str) -> RoundView:
        """Undoes a round that is not completed; returns when viewers are paid back.

        Raises RoundNotFound, StateConflict (completed, or its pool is paid), IdReused (voided for another
        reason), and Unavailable when the ledger takes long: it will be done, ask again.
        """
        round_ = await self._read(round_id)
        if round_.state not in (State.COMPLETED, State.VOIDED):
            told = await self._driver.tell(events.VoidAsked(reason), round_id)
            round_ = await self._settled(round_id) if told.id == round_id else await self._read(round_id)
        if round_.state is not State.VOIDED:
            raise StateConflict("the pool of the round is paid: it cannot be undone", state=round_.state)
        if round_.void_reason != reason:
            raise IdReused("the round was voided before with another reason")
        return self._view(round_)

    async def _settled(self, round_id: RoundId) -> Round:
        """The round once its undoing is done or refused."""
        try:
            async with asyncio.timeout(VOID_WAIT_S):
                while (current := self._driver.current) and current.id == round_id:
                    if not current.void_reason or current.state is State.VOIDED:
                        return current
                    await self._driver.changed()
        except TimeoutError as late:
            raise Unavailable("the round is being undone; ask again") from late
        return await self._read(round_id)

    async def _read(self, round_id: RoundId) -> Round:
        current = self._driver.current
        if current is not None and current.id == round_id:
            return current
        for stored in await self._rounds.by_ids([round_id]):
            return stored.round
        raise RoundNotFound

    async def _end(self) -> int:
        current = self._driver.current
        if current is not None:
            return current.number + 1
        newest = await self._rounds.newest()
        return newest.round.number + 1 if newest else 1

    def _view(self, round_: Round) -> RoundView:
        return self._driver.board.view(round_)


def _number(place: str) -> int:
    """The number of a round, as a token has it. Raises PageTokenInvalid."""
    if not place.isdecimal() or len(place) > 12 or int(place) < 1:
        raise PageTokenInvalid
    return int(place)
