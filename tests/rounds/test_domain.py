"""Ranking, record, assignment and single steps of the state machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import IdReused
from services.rounds.domain import events, machine
from services.rounds.domain.assignment import ENTRIES_MAX, Candidate, assign
from services.rounds.domain.earnings import earnings
from services.rounds.domain.failures import RoundImbalanceError, StateConflict
from services.rounds.domain.machine import Intent, first_round, intents, step
from services.rounds.domain.merkle import audit_path, root_along, root_of
from services.rounds.domain.ranking import payable, standings
from services.rounds.domain.record import canonical, payouts_root, result_record
from services.rounds.domain.values import (
    NS_PER_S,
    RULES,
    Anchor,
    Block,
    Distribution,
    Entry,
    InstantNs,
    MemeId,
    MemeTally,
    Payout,
    Round,
    RoundId,
    Sats,
    State,
    Timing,
    UserId,
)

START = InstantNs(1_700_000_000 * NS_PER_S)


def at(seconds: float) -> InstantNs:
    return InstantNs(START + round(seconds * NS_PER_S))


def entry(name: str, quality_ppm: int = 900_000) -> Entry:
    return Entry(MemeId(name), UserId(f"creator-{name}"), quality_ppm, START)


def row(name: str, seconds: int, viewers: int = 1, first_view_s: float | None = 1) -> MemeTally:
    first = None if first_view_s is None else at(first_view_s)
    return MemeTally(MemeId(name), scored_seconds=seconds, viewers=viewers, first_view_ns=first)


def block(height: int, seconds: float, name: str = "") -> Block:
    return Block(height, name or f"hash-{height}", at(seconds))


def pending(*names: str) -> Round:
    fresh = first_round(round_id=RoundId("r1"), rules=RULES, timing=Timing(), now_ns=START)
    return step(fresh, events.EntriesAssigned(tuple(entry(name) for name in names)), START)


def active(*names: str) -> Round:
    return step(pending(*names), events.ChainMoved((), (block(7, 1),)), at(1))


def ids(lines: tuple[object, ...]) -> list[str]:
    return [line.tally.meme_id for line in lines]  # type: ignore[attr-defined]


def test_ties_go_to_more_viewers_then_the_earlier_view_then_the_lower_id() -> None:
    names = ["d", "c", "b", "a"]
    entries = [entry(name) for name in names]
    tally = [row("a", 10, 1, 5), row("b", 10, 1, 5), row("c", 10, 2, 9), row("d", 10, 1, 4)]
    assert ids(standings(entries, tally)) == ["c", "d", "a", "b"]


def test_score_is_exact_and_zero_is_not_paid() -> None:
    entries = [entry("a", 800_001), entry("b", 800_000), entry("c")]
    lines = standings(entries, [row("a", 10**12), row("b", 10**12), row("c", 0, 0, None)])
    assert [line.score for line in lines] == [10**12 * 800_001, 10**12 * 800_000, 0]
    assert payable(lines) == (MemeId("a"), MemeId("b"))


@given(st.permutations(["a", "b", "c", "d", "e"]), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_ranking_does_not_depend_on_the_order_of_entries(order: list[str], seconds: list[int]) -> None:
    tally = [row(name, found) for name, found in zip("abcde", seconds, strict=True)]
    straight = standings([entry(name) for name in "abcde"], tally)
    assert ids(standings([entry(name) for name in order], reversed(tally))) == ids(straight)


def test_assignment_is_bounded_and_keeps_what_was_assigned() -> None:
    candidates = [
        Candidate(MemeId(f"m{n:03d}"), UserId(f"u{n}"), 900_000, InstantNs(1_000 - n)) for n in range(150)
    ]
    chosen = assign(candidates, (), START)
    assert len(chosen) == ENTRIES_MAX
    assert chosen[0].meme_id == "m149"
    again = assign(candidates[:-1], chosen, at(9))
    assert again[0] == chosen[1], "who stays keeps the time of assignment"
    assert again[-1].assigned_at_ns == at(9)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(700_000, 1_000_000), st.integers(0, 50)), max_size=60)
)
def test_assignment_rules_hold(found: list[tuple[int, int, int]]) -> None:
    candidates = [
        Candidate(MemeId(str(n)), UserId(f"u{who}"), quality, InstantNs(when))
        for n, (who, quality, when) in enumerate(found)
    ]
    chosen = assign(candidates, (), START)
    by_id = {candidate.meme_id: candidate for candidate in candidates}
    assert len({taken.creator_id for taken in chosen}) == len(chosen)
    assert all(taken.quality_ppm >= 800_000 for taken in chosen)
    for taken in chosen:
        others = [
            other.published_at_ns
            for other in candidates
            if other.creator_id == taken.creator_id and other.quality_ppm >= 800_000
        ]
        assert by_id[taken.meme_id].published_at_ns == min(others)


def test_a_block_opens_a_round_with_entries_once_the_pause_is_over() -> None:
    moved = events.ChainMoved((), (block(7, 1), block(8, 1)))
    opened = step(pending("a"), moved, at(1.0009))
    assert opened.state is State.ACTIVE
    assert opened.anchor == Anchor(7, "hash-7")
    assert opened.starts_at_ns == at(1), "on whole milliseconds"
    assert opened.locks_at_ns == at(601)
    assert step(pending(), moved, at(1)).state is State.PENDING
    early = replace(pending("a"), opens_after_ns=at(2))
    assert step(early, moved, at(3)).state is State.PENDING
    assert step(early, events.ChainMoved((), (block(7, 1), block(8, 2))), at(3)).anchor == Anchor(8, "hash-8")


def test_a_pause_that_began_by_a_clock_ahead_does_not_last_until_that_time_comes() -> None:
    moved = events.ChainMoved((), (block(7, 1),))
    early = replace(pending("a"), opens_after_ns=at(3_600))
    assert step(early, moved, at(3_541)).state is State.PENDING, "a clock may be slewed"
    assert step(early, moved, at(2)).state is State.ACTIVE
    assert step(replace(early, entries=()), moved, at(2)).state is State.PENDING


def test_grace_belongs_to_the_active_round() -> None:
    opened = active("a")
    assert step(opened, events.Tick(), at(630.9)).state is State.ACTIVE
    assert step(opened, events.Tick(), at(631)).state is State.CALCULATING


def test_anchor_waits_for_the_winning_block_of_its_height() -> None:
    opened = active("a")
    gone = step(opened, events.ChainMoved((block(7, 1),), ()), at(2))
    assert gone.anchor is not None
    assert not gone.anchor.on_chain
    found = step(gone, events.ChainMoved((), (block(7, 3, "other"), block(8, 3))), at(3))
    assert found.anchor == Anchor(7, "other", ("hash-7",))
    back = step(found, events.ChainMoved((block(7, 3, "other"),), (block(7, 4),)), at(4))
    assert back.anchor == Anchor(7, "hash-7", ("other",))


def test_intents_follow_the_end_of_a_round_step_by_step() -> None:
    round_ = active("a")
    assert intents(round_) == (Intent.OPEN_LEDGER, Intent.RETIRE_ENTRIES)
    round_ = step(round_, events.EntriesRetired(), at(1))
    round_ = step(round_, events.LedgerOpened(Sats(5)), at(1))
    assert intents(round_) == ()
    round_ = step(round_, events.Tick(), at(700))
    assert intents(round_) == (Intent.LOCK_LEDGER,)
    round_ = step(round_, events.LedgerLocked((MemeTally(MemeId("a")),)), at(700))
    assert intents(round_) == (Intent.PAY_POOL,)
    assert machine.ranking(round_) == ()
    round_ = step(round_, events.PoolPaid(Distribution(Sats(5), Sats(5), (), Sats(5))), at(700))
    assert intents(round_) == (Intent.RECORD_RESULT,)
    told = step(round_, events.TransactionKnown("tx"), at(700))
    assert step(told, events.ResultAccepted(""), at(700)).txid == "tx", "told before the answer"
    assert step(told, events.ResultAccepted("one before"), at(700)).txid == "tx"
    round_ = step(round_, events.ResultAccepted(""), at(700))
    assert intents(round_) == (Intent.QUEUE_PAYOUTS,)
    round_ = step(round_, events.PayoutsQueued(), at(701))
    assert round_.state is State.COMPLETED
    assert intents(round_) == ()
    assert step(round_, events.TransactionKnown("tx"), at(800)).txid == "tx"


def test_events_out_of_their_state_change_nothing() -> None:
    late: list[events.Event] = [
        events.LedgerLocked(()),
        events.PayoutsQueued(),
        events.PoolPaid(Distribution(Sats(0), Sats(0), (), Sats(0))),
        events.TransactionKnown("tx"),
        events.EntriesAssigned(()),
        events.VoidRefused(),
    ]
    opened = active("a")
    assert all(step(opened, event, at(2)) == opened for event in late)


def test_void_in_each_state() -> None:
    asked = events.VoidAsked("wrong")
    assert step(pending("a"), asked, at(1)).state is State.VOIDED
    opened = step(active("a"), asked, at(2))
    assert opened.state is State.ACTIVE
    assert intents(opened)[0] is Intent.OPEN_LEDGER, "opened first, so that nothing can open it later"
    opened = step(opened, events.LedgerOpened(Sats(0)), at(2))
    assert intents(opened)[0] is Intent.VOID_LEDGER
    voided = step(opened, events.TakingsReturned(), at(3))
    assert (voided.state, voided.ended_at_ns) == (State.VOIDED, at(3))
    assert step(voided, asked, at(4)) == voided
    with pytest.raises(IdReused):
        step(voided, events.VoidAsked("other"), at(4))
    with pytest.raises(StateConflict):
        step(replace(opened, void_reason="", state=State.COMPLETED), asked, at(4))


def test_void_that_comes_after_the_pool_was_paid_is_taken_back() -> None:
    locked = replace(active("a"), state=State.CALCULATING, ledger_open=True, tally=(), void_reason="wrong")
    assert intents(locked)[0] is Intent.VOID_LEDGER
    refused = step(locked, events.VoidRefused(), at(700))
    assert refused.void_reason == ""
    assert intents(refused)[0] is Intent.PAY_POOL


def full_tally() -> tuple[tuple[MemeTally, ...], Distribution]:
    tally = (
        MemeTally(MemeId("a"), 200, Sats(200), Sats(4), Sats(8), Sats(80), Sats(108), 200, 2, at(5), 0),
        MemeTally(MemeId("b"), 100, Sats(100), Sats(2), Sats(4), Sats(40), Sats(54), 100, 1, at(3), 0),
    )
    payouts = (Payout(1, MemeId("a"), UserId("creator-a"), Sats(162)),)
    return tally, Distribution(Sats(7), Sats(169), payouts, Sats(7), "ab" * 32)


def test_record_is_canonical_and_can_be_recomputed() -> None:
    tally, distribution = full_tally()
    text = result_record(active("a", "b"), tally, distribution)
    record = json.loads(text)
    assert canonical(record) == text
    assert record["rules"]["platform_fee_bp"] == 200
    assert record["anchor"] == {"height": 7, "hash": "hash-7", "orphaned": []}
    quality = {meme_id: ppm for meme_id, _, ppm in record["entries"]}
    for _, meme_id, score, scored_seconds, *_ in record["standings"]:
        assert score == scored_seconds * quality[meme_id]
    leaf = hashlib.sha256(b"\x00" + canonical(record["payouts"][0]).encode()).hexdigest()
    assert record["payouts_root"] == leaf
    assert record["ledger_record_sha256"] == "ab" * 32
    sums = record["sums"]
    assert (
        sums["takings"] == sums["fee"] + sums["creators"] + sums["owners"] + sums["pool"] - sums["carried_in"]
    )
    assert sums["pool"] == sums["paid_out"] + sums["carried_out"]


def test_record_of_a_full_round_fits_on_chain() -> None:
    names = [f"{n:036d}" for n in range(100)]
    big = Sats(10**12)
    tally = tuple(
        MemeTally(MemeId(name), 10**9, Sats(4 * big), big, big, big, big, 10**9, 10**6, START, 0)
        for name in names
    )
    payouts = tuple(Payout(n, MemeId(name), UserId(name), big) for n, name in enumerate(names, 1))
    distribution = Distribution(Sats(0), Sats(100 * big), payouts, Sats(0))
    assert len(result_record(active(*names), tally, distribution).encode()) < 90_000


@pytest.mark.parametrize("broken", ["shares", "pool", "payouts"])
def test_nothing_is_recorded_when_the_ledger_does_not_add_up(broken: str) -> None:
    tally, distribution = full_tally()
    if broken == "shares":
        tally = (replace(tally[0], fee_sats=Sats(5)), tally[1])
    if broken == "pool":
        distribution = replace(distribution, pool_sats=Sats(170), carried_out_sats=Sats(8))
    if broken == "payouts":
        distribution = replace(distribution, carried_out_sats=Sats(6))
    calculating = replace(active("a", "b"), state=State.CALCULATING, ledger_open=True, tally=tally)
    with pytest.raises(RoundImbalanceError):
        step(calculating, events.PoolPaid(distribution), at(700))


def test_merkle_tree_is_that_of_rfc_6962() -> None:
    payouts = [Payout(n, MemeId(str(n)), UserId(str(n)), Sats(n)) for n in range(1, 4)]
    leaves = [
        hashlib.sha256(b"\x00" + canonical([n, str(n), str(n), n]).encode()).digest() for n in range(1, 4)
    ]
    pair = hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    assert payouts_root(payouts) == hashlib.sha256(b"\x01" + pair + leaves[2]).hexdigest()
    assert payouts_root([]) == hashlib.sha256().hexdigest()


# Roots of the trees over the first n of these leaves, from the reference implementation of RFC 6962
# (google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_trees_have_the_roots_of_the_reference_implementation() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in LEAVES]
    assert [root_of(leaves[:size]).hex() for size in range(9)] == ROOTS


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=20), st.data())
def test_a_path_leads_from_its_leaf_to_the_root_and_from_no_other(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path, size = audit_path(leaves, index), len(leaves)
    assert len(path) <= (size - 1).bit_length()
    assert root_along(leaves[index], index, size, path) == root_of(leaves)
    assert root_along(leaves[index] + b"x", index, size, path) != root_of(leaves)
    assert root_along(leaves[index], size, size, path) is None
    assert root_along(leaves[index], index, size, [*path, bytes(32)]) != root_of(leaves)
    if path:
        assert root_along(leaves[index], index, size, path[1:]) != root_of(leaves)
        assert root_along(leaves[index], index, size, [bytes(32), *path[1:]]) != root_of(leaves)


def test_earnings_are_creator_parts_and_payouts_with_lasting_ids() -> None:
    tally, distribution = full_tally()
    ended = replace(active("a", "b"), tally=tally, distribution=distribution)
    found = {earned.user_id: earned for earned in earnings(ended)}
    assert {who: earned.amount_sats for who, earned in found.items()} == {"creator-a": 170, "creator-b": 4}
    assert earnings(ended) == earnings(replace(ended, txid="later"))
    assert len({earned.withdrawal_id for earned in found.values()}) == 2
