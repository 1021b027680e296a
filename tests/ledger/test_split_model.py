"""Whole rounds of random people under random rules end as the slow ledger says, to the satoshi."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger.domain import commands as c
from services.ledger.domain.commands import Transfer
from services.ledger.domain.reasons import Reason
from services.ledger.domain.shares import Parameters
from tests.ledger.model import Outcome
from tests.ledger.twin import Twin, compare_tallies
from tests.ledger.world import RATES, World, uid

# Unequal primes for every number: whatever is swapped shows.
PRIMES = replace(
    RATES, platform_fee_bp=211, instant_bp=4507, creator_bp=1009, winner_bp=2003, ranks_paid=89,
    payout_min_sats=97, scored_seconds_max=593, session_max_s=3593,
)  # fmt: skip
# Every second is paid, however short the session.
SHORT = replace(PRIMES, platform_fee_bp=307, free_below_s=1, ranks_paid=97, payout_min_sats=101)

VIEWERS = ("v", "w", "x", "y")


@st.composite
def parameters(draw: st.DrawFn) -> Parameters:
    """Any rules that a round may have."""
    fee = draw(st.sampled_from([0, 1, 200, 211, 3_333, 10_000]))
    return Parameters(
        version=2,
        platform_fee_bp=fee,
        instant_bp=draw(st.sampled_from([10_000 - fee, (10_000 - fee) // 3, 0])),
        creator_bp=draw(st.sampled_from([0, 1, 1_009, 5_003, 10_000])),
        winner_bp=draw(st.sampled_from([0, 2_003, 9_973, 10_000])),
        ranks_paid=draw(st.sampled_from([1, 2, 3, 100])),
        payout_min_sats=draw(st.sampled_from([0, 1, 13, 100])),
        second_price_sats=draw(st.sampled_from([1, 2, 7])),
        free_below_s=draw(st.sampled_from([0, 1, 3, 11])),
        session_max_s=draw(st.sampled_from([47, 3_600])),
        scored_seconds_max=draw(st.sampled_from([0, 53, 600])),
    )


@dataclass(frozen=True)
class Step:
    """Something that happens: numbers choose among whom and what there is."""

    what: str
    who: int
    which: int
    many: int


steps = st.builds(
    Step,
    st.sampled_from(
        [*["wait"] * 4, *["open"] * 4, *["report"] * 3, "close", "sell", "give", "spend", "fund", "reverse"]
    ),
    st.integers(0, 11),
    st.integers(0, 11),
    st.integers(1, 150),
)


class Life:
    """A round of so many creators, as the steps tell it."""

    def __init__(self, creators: int, rates: Parameters) -> None:
        self.twin = Twin(silence_s=3_600, each_step=False)
        self.people = [*VIEWERS, *(f"c{number}" for number in range(creators))]
        self.entries = [(f"m{number}", f"c{number}", 800_000 + 7 * number) for number in range(creators)]
        for person in self.people:
            self.twin.deposit(f"d:{person}", person, 2_003)
        self.twin.open_round("r", self.entries, rates=rates)
        self.names = 0

    def name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    def take(self, step: Step) -> None:
        twin = self.twin
        person, meme = (
            self.people[step.who % len(self.people)],
            self.entries[step.which % len(self.entries)][0],
        )
        if step.what == "wait":
            twin.wait(step.many / 2)
        elif step.what == "open":
            twin.open_session(self.name(), person, meme, 4 * step.many)
        elif step.what == "report":
            twin.report_all(twin.sessions[step.which % 3 :], step.who % 3)
        elif step.what == "close" and twin.sessions:
            twin.close(twin.sessions[step.which % len(twin.sessions)], person)
        elif step.what == "sell":
            twin.sell(self.name(), meme, person, step.many)
        elif step.what == "give":
            twin.give(self.name(), meme, person)
        elif step.what == "fund":
            twin.deposit(self.name(), person, step.many)
        elif step.what == "reverse":
            twin.reverse(self.name(), f"d:{person}")
        elif step.what == "spend":
            self.spend(person)

    def spend(self, person: str) -> None:
        """All of it, so that what is taken back later is not there any more."""
        rest = self.twin.slow.available((f"user:{person}", "sat"))
        self.twin.transfer(Transfer(uid(self.name()), f"user:{person}", "user:elsewhere", rest))

    def end(self, how: str) -> None:
        twin, play = self.twin, self.twin.slow.plays[uid("r")]
        twin.report_all()
        if how == "void":
            twin.void("r")
        else:
            twin.lock("r")
            compare_tallies(twin.world.round("r"), play)
            twin.void("r") if how == "lock, void" else twin.distribute("r")
        twin.compare()
        if how == "distribute":
            compare_tallies(twin.world.round("r"), play)
        else:
            assert play.outcome is Outcome.VOIDED
            assert not any(name.startswith(("takings:", "pool:")) for name, _ in twin.world.accounts())


@settings(max_examples=150)
@given(
    st.integers(1, 6),
    parameters() | st.sampled_from([RATES, PRIMES, SHORT]),
    st.lists(steps, min_size=20, max_size=60),
    st.sampled_from(["distribute", "distribute", "void", "lock, void"]),
)
def test_a_round_ends_as_the_model_says(
    creators: int, rates: Parameters, story: list[Step], how: str
) -> None:
    life = Life(creators, rates)
    for step in story:
        life.take(step)
    life.end(how)


@settings(max_examples=25)
@given(st.data(), st.integers(1, 4))
def test_a_round_can_be_voided_at_any_point(data: st.DataObject, creators: int) -> None:
    """Viewers, creators, owners and the pool stand as if it had not been; what was spent by then is owed."""
    story = data.draw(st.lists(steps, min_size=4, max_size=20))
    for end in range(len(story) + 1):
        life = Life(creators, SHORT)
        for step in story[:end]:
            life.take(step)
        life.twin.void("r")
        life.twin.compare()


@pytest.mark.parametrize(
    ("creators", "rates"),
    [
        *((creators, RATES) for creators in (1, 2, 10, 99, 100)),
        *((creators, PRIMES) for creators in (1, 3, 88, 89, 90)),
        *((creators, SHORT) for creators in (2, 97, 98, 100)),
    ],
)
def test_rounds_of_many_creators(creators: int, rates: Parameters) -> None:
    """Pools near the floor of the last rank; each meme has two viewers, some of them watch their own."""
    life = Life(creators, rates)
    twin = life.twin
    for number, (meme, creator, _) in enumerate(life.entries):
        twin.deposit(f"e:{creator}", creator, 600)
        twin.deposit(f"f:{number}", f"f{number}", 1_000)
        twin.open_session(f"a{number}", f"f{number}", meme, 37 + number * 41 % 560)
        twin.open_session(f"b{number}", f"c{number * 7 % creators}", meme, 3 + number * 13 % 90)
        if number % 5 == 0:
            twin.give(f"g{number}", meme, f"f{(3 * number + 1) % creators}")
        twin.wait(1)
    for _ in range(3):
        twin.wait(167)
        twin.report_all()
    life.end("distribute")
    paid = twin.world.round("r")
    assert len(paid.payouts) <= min(creators, rates.ranks_paid)
    assert all(payout.amount_sats >= rates.payout_min_sats for payout in paid.payouts)
    assert sum(payout.amount_sats for payout in paid.payouts) + paid.carried_out == paid.pool


@pytest.mark.parametrize("creators", [0, 101, 150])
def test_rounds_of_too_many_or_no_creators_are_refused(creators: int) -> None:
    world = World()
    names = [f"c{number}" for number in range(creators)]
    world.open_round(*(names[:100] or ["c"]), name="before")
    for creator in names[100:]:
        world.do(c.IssueTitle(f"m-{creator}", creator))
    world.lock("before")
    world.distribute([], "before")
    world.refused(world.round_command(*names), Reason.ROUND_INVALID)
    if creators:
        world.do(world.round_command(*names[:100]))
