"""An explanation recomputes from the record alone what the ledger paid, and finds what is not right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger.app.statements import postings_in_memory
from services.ledger.domain.explain import explain
from services.ledger.domain.json_values import RecordInvalid
from services.ledger.domain.public_record import PublicRecord
from services.ledger.domain.reasons import Refused
from services.ledger.domain.record_json import encode, parse
from services.ledger.domain.rounds import RoundState
from services.ledger.domain.workings import Step
from tests.ledger import model
from tests.ledger.played import CREATORS, PRIMES, VIEWERS, play, recorded
from tests.ledger.world import RATES, World, uid

SEEDS = st.integers(0, 2**32)


def paid_by_the_ledger(world: World) -> dict[str, int]:
    """What the postings of the round "r" credited to users."""
    purposes = (f"share:{uid('r')}:", f"payout:{uid('r')}:")
    paid = {}
    for user in {*CREATORS, *VIEWERS}:
        with suppress(Refused):
            page = postings_in_memory(world.machine, f"user:{user}", 1_000, "")
            shares = [posting for posting in page.items if posting.memo.startswith(purposes)]
            paid[user] = sum(posting.amount for posting in shares)
    return paid


def steps_of(record: PublicRecord, what: str, user_id: str = "") -> list[Step]:
    return [step for step in explain(record, user_id).steps if step.what == what]


@settings(max_examples=60)
@given(SEEDS, st.sampled_from([RATES, PRIMES]))
def test_an_explanation_comes_to_what_the_ledger_paid(seed: int, rates: Any) -> None:
    world = play(seed, state=RoundState.DISTRIBUTED, rates=rates)
    record, paid = parse(encode(recorded(world))), paid_by_the_ledger(world)
    everybody = explain(record)
    assert everybody.mismatches == ()
    assert everybody.total_sats == sum(paid.values())
    for user in {*paid, *VIEWERS, "nobody"}:
        one = explain(record, user)
        assert (one.total_sats, one.matches) == (paid.get(user, 0), True)
        amounts = [step.sats for step in one.steps if step.user_id == user and step.what != "all together"]
        assert sum(filter(None, amounts)) == paid.get(user, 0)
        assert set(one.steps) <= set(everybody.steps)


@settings(max_examples=40)
@given(SEEDS, st.sampled_from(RoundState))
def test_a_round_in_any_state_is_explained(seed: int, state: RoundState) -> None:
    record = recorded(play(seed, state=state))
    told = explain(record)
    assert (told.state, told.mismatches) == (state, ())
    if state is RoundState.VOIDED:
        assert told.total_sats == 0


@settings(max_examples=30)
@given(SEEDS)
def test_parts_equal_the_model(seed: int) -> None:
    record = recorded(play(seed, state=RoundState.DISTRIBUTED))
    for entry in record.entries:
        under = {part.owner_id: part.takings_sats for part in entry.owners}
        fee, creator, owners, pool = model.split(under, record.rules)
        mine = [step for step in explain(record).steps if step.meme_id == entry.meme_id]
        assert [step.sats for step in mine if step.what == "platform fee"] == [fee]
        assert [step.sats for step in mine if step.what == "creator's part"] == [creator]
        assert {step.user_id: step.sats for step in mine if step.what == "owner's part"} == owners
        assert [step.sats for step in mine if step.what == "pool part"] == [pool]
    payouts = [step.sats for step in explain(record).steps if step.what.startswith("payout of rank")]
    assert payouts == model.pool(record.sums.pool, len(record.ranking), record.rules)


AMOUNTS = {"takings", "paid", "fee", "creator", "pool", "creators", "owners", "paid_out", "carried_in",
           "carried_out", "refunded", "paid_seconds"}  # fmt: skip


def amounts_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every amount in a record."""
    places = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in places:
        if isinstance(inner, dict | list):
            yield from amounts_in(inner)
        elif isinstance(inner, int) and (key in AMOUNTS or (isinstance(value, list) and key == 3)):
            yield value, key


@settings(max_examples=60)
@given(SEEDS, st.sampled_from(RoundState), st.data())
def test_a_changed_amount_is_found(seed: int, state: RoundState, data: st.DataObject) -> None:
    value = json.loads(encode(recorded(play(seed % 50, state=state))))
    container, key = data.draw(st.sampled_from(list(amounts_in(value))))
    container[key] += data.draw(st.sampled_from([-1, 1, 1_000]))
    try:
        assert not explain(parse(json.dumps(value).encode())).matches
    except RecordInvalid:
        assert container[key] < 0


@pytest.fixture(scope="module")
def paid() -> PublicRecord:
    return recorded(play(3, state=RoundState.DISTRIBUTED))


def test_changed_facts_are_named(paid: PublicRecord) -> None:
    first, *others = paid.entries
    changed = {
        "scored seconds of meme": replace(first, scored_seconds=first.paid_seconds + 1, viewers=1),
        "owners of meme": replace(first, tenures=()),
        "creator's part of meme m-a for user a": replace(first, creator_sats=first.creator_sats + 1),
        "under all its owners": replace(first, owners=first.owners[:-1]),
    }
    for told, entry in changed.items():
        found = explain(replace(paid, entries=(entry, *others))).mismatches
        assert any(told in one for one in found), (told, found)


def test_a_wrong_ranking_or_payout_is_named(paid: PublicRecord) -> None:
    ranking = (paid.ranking[1], paid.ranking[0], *paid.ranking[2:])
    assert [one.partition(":")[0] for one in explain(replace(paid, ranking=ranking)).mismatches] == [
        "ranking"
    ]
    first, *others = paid.payouts
    told = explain(replace(paid, payouts=(replace(first, user_id="thief"), *others))).mismatches
    assert len(told) == 1
    assert told[0].startswith(f"payout of rank 1: recorded {first.amount_sats} sat to user thief")
    told = explain(replace(paid, payouts=tuple(others))).mismatches
    assert any(one.endswith("for rank 1, meme " + first.meme_id) for one in told)
    assert any(f"payout of rank {len(paid.payouts)}: recorded none" in one for one in told)


def test_formulas_have_the_numbers_put_in() -> None:
    world = World()
    for viewer in ("v", "w", "x"):
        world.fund(viewer, 5_000)
    world.open_round("a", "b", "c")
    for number, (viewer, meme, seconds) in enumerate((("v", "m-a", 350), ("w", "m-b", 240), ("x", "m-c", 8))):
        world.watch(f"s{number}", viewer, meme, seconds)
    world.lock()
    world.distribute(["m-a", "m-b", "m-c"])
    told = explain(recorded(world), "b")
    assert told.matches
    assert [(step.what, step.formula, step.sats) for step in told.steps] == FORMULAS


WEIGHT_2 = 630_929_753_571_457
FORMULAS = [
    ("takings", "240 s × 1 sat", 240),
    ("platform fee", "floor(240 × 200 / 10000)", 4),
    ("instant part", "floor((240 - 4) × 4500 / 10000)", 106),
    ("creator's part", "floor(106 × 1000 / 10000)", 10),
    (
        "owner's part",
        "240 taken under this owner, fee of it 4: floor(floor((240 - 4) × 4500 / 10000) × 9000 / 10000)",
        95,
    ),
    ("pool part", "240 - (4 + 10 + 95)", 131),
    ("pool", "0 carried in + 327 of the entries", 327),
    ("rank", "score 240 s × 900000 = 216000000, 1 viewers: rank 2 of 3", None),
    ("ranks that fall out", "below 100 sat: rank 3 would get 61.381657", None),
    (
        "weights",
        f"floor(10^15 / log2(rank + 1)) for ranks 1 to 2: {10**15} + {WEIGHT_2} = {10**15 + WEIGHT_2}",
        None,
    ),
    ("least payout", "rank 2 gets 101.200694, at least 100 sat: paid are ranks 1 to 2", None),
    ("left by rounding", "327 - (225 + 101), one each to the largest fractions: rank 1 (0.799305)", 1),
    (
        "share of rank 2",
        "floor(327 × 8000 / 10000 × 630929753571457 / 1630929753571457) = floor(101.200694)",
        101,
    ),
    ("payout of rank 2", "101 + 0 left by rounding", 101),
    ("carried to the next round", "327 - 327 paid out", 0),
    ("all together", "10 + 95 + 101", 206),
]
