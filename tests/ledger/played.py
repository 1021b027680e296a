"""Rounds played at random, for tests of what is told about them afterwards."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from services.ledger.domain import commands as c
from services.ledger.domain.commands import Transfer
from services.ledger.domain.explain_pool import by_score
from services.ledger.domain.public_record import PublicRecord, record_of
from services.ledger.domain.rounds import RoundState
from services.ledger.domain.shares import Parameters
from tests.ledger.world import RATES, World, uid

# Unequal primes, so that swapped shares show; a least payout that some ranks miss.
PRIMES = replace(
    RATES, version=2, platform_fee_bp=211, instant_bp=4507, creator_bp=1009, winner_bp=2003,
    payout_min_sats=23, ranks_paid=7, second_price_sats=3, scored_seconds_max=60,
)  # fmt: skip
CREATORS = tuple("abcdefghi")
VIEWERS = ("v", "w", "x", "a", "b")


def play(
    seed: int, *, state: RoundState, rates: Parameters = PRIMES, creators: tuple[str, ...] = CREATORS
) -> World:
    """A world whose round "r" has come to this state: viewings, sales in between, and a carried pool."""
    random = Random(seed)
    world = World(checked=False, silence_s=600)
    for viewer in VIEWERS:
        world.fund(viewer, 100_000)
    _carry(world, creators, rates, random.randint(0, 40))
    world.do(_opening(world, random, creators, rates))
    for number in range(random.randint(0, 24)):
        _watch(world, random, number, random.choice(creators))
        if random.random() < 0.5:
            _sell(world, random, number, random.choice(creators))
    if state in {RoundState.LOCKED, RoundState.DISTRIBUTED}:
        world.lock()
    if state is RoundState.DISTRIBUTED:
        world.distribute([entry.meme_id for entry in by_score(recorded(world).entries)])
    if state is RoundState.VOIDED:
        world.do(c.VoidRound(uid("r"), "at random"))
    world.checked = True
    world.check()
    return world


def recorded(world: World, name: str = "r") -> PublicRecord:
    """The round's record."""
    return record_of(world.machine.rounds.get(uid(name)))


def _carry(world: World, creators: tuple[str, ...], rates: Parameters, seconds: int) -> None:
    """A round before, too small for any payout, leaves its pool."""
    none = replace(rates, payout_min_sats=10**9)
    world.open_round(*creators, name="before", rates=none)
    world.open_session("s-before", "v", f"m-{creators[0]}")
    world.report(("s-before", seconds), after_s=seconds)
    world.lock("before")
    world.distribute([entry.meme_id for entry in by_score(recorded(world, "before").entries)], "before")


def _opening(world: World, random: Random, creators: tuple[str, ...], rates: Parameters) -> c.OpenRound:
    command = world.round_command(*creators, length_s=4_000, rates=rates)
    qualities = random.choices((800_000, 900_000, 1_000_000), k=len(creators))
    entries = zip(command.entries, qualities, strict=True)
    return replace(command, entries=tuple(replace(entry, quality_ppm=ppm) for entry, ppm in entries))


def _watch(world: World, random: Random, number: int, creator: str) -> None:
    viewer = random.choice(VIEWERS)
    world.open_session(f"s{number}", viewer, f"m-{creator}", 3_000)
    seconds = random.choice((1, 3, 20, random.randint(3, 100)))
    # A title sold in between: the seconds are told behind the sale.
    if random.random() < 0.3:
        world.wait(seconds / 2)
        _sell(world, random, number, creator, "during")
    world.report((f"s{number}", seconds), after_s=seconds)
    world.do(c.CloseSession(uid(f"s{number}"), viewer))


def _sell(world: World, random: Random, number: int, creator: str, when: str = "after") -> None:
    owner = world.machine.titles.get(f"m-{creator}").owner_id
    buyer = random.choice([user for user in VIEWERS if user != owner])
    sale_id = uid(f"sale-{when}-{number}", world.now_ns)
    sale = Transfer(sale_id, f"user:{owner}", f"user:{buyer}", 1, asset=f"title:m-{creator}")
    world.transfer(sale)
