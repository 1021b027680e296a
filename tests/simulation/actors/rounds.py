"""The rounds service: opens, locks after the grace, ranks, has the pool paid; sometimes voids."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from satreel.ledger.v1 import ledger_pb2 as pb

from mesh.clock import NS_PER_S
from services.ledger.domain.views import RoundView, Tally
from tests.simulation import orders
from tests.simulation.actors.client import Client
from tests.simulation.world import World

GRACE_S = 3.0
# Unequal primes, so that swapped shares show.
FEES_BP = (211, 197, 0)
INSTANT_BP = (4481, 4507, 5003)
CREATORS_BP = (1009, 983, 2003)
WINNERS_BP = (1999, 2011, 503)


@dataclass(frozen=True, slots=True)
class Played:
    """A round as it ended."""

    round_id: str
    rates: pb.Parameters
    entries: tuple[pb.RoundEntry, ...]
    locks_ns: int
    view: RoundView
    void: bool


class RoundsService(Client):
    """Plays the rounds of the plan, one after another."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "rounds")
        self.played: list[Played] = []
        # Ids of the rounds that were opened, oldest first.
        self.begun: list[str] = []
        self._starts_ns = 0
        # Entries of the round that is open now.
        self.playing: tuple[str, ...] = ()

    async def run(self) -> None:
        """Until all rounds are played."""
        for meme_id, creator_id in self.world.memes.items():
            await self.granted(orders.issue_title(meme_id, creator_id))
        for _ in range(self.world.plan.rounds):
            await self._play()
            await self.pause(0.1, 3.0)

    async def _play(self) -> None:
        rates, entries, round_id = self.rates(), self._entries(), self.world.new_id()
        # Perhaps in the past, but never before the round before it.
        starts_ns = self.world.now_ns() + round(self.random.uniform(-2, 2) * NS_PER_S)
        starts_ns = self._starts_ns = max(starts_ns, self._starts_ns)
        length_s = self.random.uniform(6.0, 18.0)
        locks_ns = starts_ns + round(length_s * NS_PER_S)
        void = self.random.choices(("", "open", "locked"), (0.7, 0.15, 0.15))[0]
        await self.granted(orders.open_round(round_id, rates, starts_ns, locks_ns, entries))
        self.begun.append(round_id)
        self.playing = tuple(entry.meme_id for entry in entries)
        await asyncio.sleep(length_s * (self.random.random() if void == "open" else 1))
        self.playing = ()
        if void == "open":
            view = await self._void(round_id)
        else:
            await self.pause(GRACE_S, 1.5 * GRACE_S)
            locked: RoundView = await self.granted(orders.lock_round(round_id))
            view = await (self._void(round_id) if void else self._distribute(round_id, locked, entries))
        self.world.trace.count("rounds voided" if void else "rounds distributed")
        self.played.append(Played(round_id, rates, tuple(entries), locks_ns, view, bool(void)))

    async def _void(self, round_id: str) -> RoundView:
        order = orders.void_round(round_id, "an administrator says so")
        self.world.checker.keep_equal(order)
        view: RoundView = await self.granted(order)
        return view

    async def _distribute(
        self, round_id: str, locked: RoundView, entries: Sequence[pb.RoundEntry]
    ) -> RoundView:
        order = orders.distribute_pool(round_id, ranking(locked.tallies, entries))
        self.world.checker.keep_equal(order)
        view: RoundView = await self.granted(order)
        self.world.trace.count("payouts", len(view.payouts))
        return view

    def _entries(self) -> list[pb.RoundEntry]:
        memes = list(self.world.memes.items())
        chosen = self.random.sample(memes, self.random.randint(1, len(memes)))
        return [
            pb.RoundEntry(
                meme_id=meme_id, creator_id=creator_id, quality_ppm=self.random.randint(800_000, 1_000_000)
            )
            for meme_id, creator_id in chosen
        ]

    def rates(self) -> pb.Parameters:
        """A set of rules."""
        choice = self.random.choice
        return pb.Parameters(
            version=1,
            platform_fee_bp=choice(FEES_BP),
            instant_bp=choice(INSTANT_BP),
            creator_bp=choice(CREATORS_BP),
            winner_bp=choice(WINNERS_BP),
            ranks_paid=choice((1, 3, 100)),
            payout_min_sats=choice((1, 10, 100)),
            second_price_sats=choice((1, 7, 13)),
            free_below_s=choice((3, 3, 0)),
            session_max_s=choice((3600, 5)),
            scored_seconds_max=choice((600, 7)),
        )


def ranking(tallies: Sequence[Tally], entries: Sequence[pb.RoundEntry]) -> list[str]:
    """Entries with a score, the best first: score, then viewers, then the earlier first view, then the id."""
    quality = {entry.meme_id: entry.quality_ppm for entry in entries}
    scored = [tally for tally in tallies if tally.scored_seconds]
    scored.sort(
        key=lambda tally: (
            -tally.scored_seconds * quality[tally.meme_id],
            -tally.viewers,
            tally.first_view_ns,
            tally.meme_id,
        )
    )
    return [tally.meme_id for tally in scored]
