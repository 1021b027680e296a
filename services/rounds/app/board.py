"""The live leaderboard: the ledger's tallies of the current round, in memory, told at most once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from mesh.clock import Clock
from services.rounds.app.ports import Leaderboard, News, RoundView
from services.rounds.domain.ranking import standings
from services.rounds.domain.values import InstantNs, MemeId, MemeTally, Round, RoundId, State, Totals, totals


class Board:
    """Tallies of one round at a time; what belongs to another is ignored."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._round_id: RoundId | None = None
        self._tally: dict[MemeId, MemeTally] = {}
        self._moved = asyncio.Event()

    def follow(self, round_id: RoundId) -> None:
        """From now on tallies of this round count."""
        if round_id != self._round_id:
            self._round_id, self._tally = round_id, {}

    def update(self, round_id: RoundId, rows: Iterable[MemeTally], *, whole: bool) -> None:
        """Takes in changed tallies; `whole`: all there are, which replace what was known."""
        if round_id != self._round_id:
            return
        fresh = {row.meme_id: row for row in rows}
        if fresh.items() <= self._tally.items() and not (whole and len(fresh) != len(self._tally)):
            return
        self._tally = fresh if whole else self._tally | fresh
        self._moved.set()

    def tally(self, round_: Round) -> tuple[MemeTally, ...]:
        """The round's tally: the final one when it is known, else what was heard last."""
        if round_.tally is not None:
            return round_.tally
        if round_.id != self._round_id:
            return ()
        # A ledger that begins to lead may tell of memes of earlier rounds as well: they do not count here.
        rows = (self._tally.get(entry.meme_id) for entry in round_.entries)
        return tuple(row for row in rows if row is not None)

    def view(self, round_: Round) -> RoundView:
        """The round with its sums. A voided round took nothing: everything went back."""
        sums = Totals() if not _counts(round_) else totals(self.tally(round_))
        return RoundView(round_, sums)

    def leaderboard(self, round_: Round) -> Leaderboard:
        """The round's standings as of now."""
        lines = standings(round_.entries, self.tally(round_) if _counts(round_) else (), round_.distribution)
        return Leaderboard(round_.id, InstantNs(self._clock.now_ns()), lines, final=round_.tally is not None)

    async def moved(self) -> None:
        """Waits until tallies changed since the last time."""
        await self._moved.wait()
        self._moved.clear()


def _counts(round_: Round) -> bool:
    return round_.state is not State.VOIDED


class Announcer:
    """Tells watchers of moved standings, at most once per interval."""

    def __init__(self, *, board: Board, news: News, clock: Clock, interval_s: float) -> None:
        self._board = board
        self._news = news
        self._clock = clock
        self._interval_s = interval_s

    async def run(self, current: Callable[[], Round | None]) -> None:
        """Runs until cancelled."""
        while True:
            await self._board.moved()
            round_ = current()
            if round_ is not None and round_.anchor is not None:
                self._news.standings_moved(self._board.leaderboard(round_))
                self._news.round_changed(self._board.view(round_))
            await self._clock.sleep(self._interval_s)
