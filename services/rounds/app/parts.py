"""The parts of rounds, and how they hang together: each is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from mesh.clock import Clock
from services.rounds.app.assignment import Assignment
from services.rounds.app.board import Announcer, Board
from services.rounds.app.driver import Driver
from services.rounds.app.effects import Effects
from services.rounds.app.followers import Followers
from services.rounds.app.leading import Leading
from services.rounds.app.ports import Candidates, Chain, Content, Cursors, Ledger, News, Rounds
from services.rounds.app.service import RoundsService
from services.rounds.domain.values import RULES, Timing


@dataclass(frozen=True, slots=True)
class World:
    """What rounds stands on."""

    rounds: Rounds
    candidates: Candidates
    cursors: Cursors
    ledger: Ledger
    content: Content
    chain: Chain
    news: News
    clock: Clock
    new_id: Callable[[], str]


class Parts:
    """Everything that works in rounds, wired. Standings are told every `board_interval_s`."""

    def __init__(self, world: World, timing: Timing, board_interval_s: float) -> None:
        self.world = world
        self._timing = timing
        self._board_interval_s = board_interval_s

    @cached_property
    def leading(self) -> Leading:
        """What the leader does."""
        return Leading(
            driver=self.driver,
            followers=self.followers,
            announcer=self.announcer,
            assignment=self.assignment,
        )

    @cached_property
    def service(self) -> RoundsService:
        """What others may ask."""
        return RoundsService(rounds=self.world.rounds, driver=self.driver, clock=self.world.clock)

    @cached_property
    def driver(self) -> Driver:
        """Round after round."""
        return Driver(
            rounds=self.world.rounds,
            effects=Effects(ledger=self.world.ledger, chain=self.world.chain, assignment=self.assignment),
            board=self.board,
            news=self.world.news,
            clock=self.world.clock,
            new_id=self.world.new_id,
            rules=RULES,
            timing=self._timing,
        )

    @cached_property
    def followers(self) -> Followers:
        """What ledger, content and chain tell."""
        return Followers(
            driver=self.driver,
            assignment=self.assignment,
            rounds=self.world.rounds,
            cursors=self.world.cursors,
            ledger=self.world.ledger,
            content=self.world.content,
            chain=self.world.chain,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def assignment(self) -> Assignment:
        """Which memes come into the next round."""
        return Assignment(candidates=self.world.candidates, content=self.world.content)

    @cached_property
    def board(self) -> Board:
        """Live standings."""
        return Board(self.world.clock)

    @cached_property
    def announcer(self) -> Announcer:
        """Tells of them."""
        return Announcer(
            board=self.board,
            news=self.world.news,
            clock=self.world.clock,
            interval_s=self._board_interval_s,
        )
