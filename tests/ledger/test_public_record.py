"""The public record: complete, canonical, without viewers; what is no record is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger.domain.json_values import RecordInvalid
from services.ledger.domain.public_record import view_of
from services.ledger.domain.record_json import encode, parse
from services.ledger.domain.rounds import RoundState
from services.ledger.domain.views import view_round
from services.rounds.domain import values as rounds
from services.rounds.domain.record import canonical as canonical_on_chain
from services.rounds.domain.record import payouts_root, result_record
from tests.ledger.played import VIEWERS, play, recorded
from tests.ledger.world import START_NS, uid

SEEDS = st.integers(0, 2**32)
STATES = st.sampled_from(RoundState)


@settings(max_examples=40)
@given(SEEDS, STATES)
def test_a_record_shows_the_round_as_the_ledger_does(seed: int, state: RoundState) -> None:
    world = play(seed, state=state)
    record = recorded(world)
    assert parse(encode(record)) == record
    assert view_of(record) == view_round(world.machine.rounds.get(uid("r")))


def test_only_running_sessions_are_not_on_record() -> None:
    world = play(1, state=RoundState.OPEN)
    world.open_session("running", "v", "m-a")
    shown = view_round(world.machine.rounds.get(uid("r")))
    still = tuple(replace(tally, running_sessions=0) for tally in shown.tallies)
    assert view_of(recorded(world)) == replace(shown, tallies=still) != shown


def test_the_text_is_canonical_and_names_no_viewer() -> None:
    world = play(3, state=RoundState.DISTRIBUTED)
    data = encode(recorded(world))
    value = json.loads(data)
    assert data.decode() == json.dumps(value, sort_keys=True, separators=(",", ":"))
    assert data == encode(parse(json.dumps(value, indent=2).encode()))
    viewers = set(VIEWERS)
    owners = {part["owner"] for entry in value["entries"] for part in entry["owners"]}
    for viewer in viewers - owners - {entry["creator"] for entry in value["entries"]}:
        assert f'"{viewer}"' not in data.decode()
    assert value["sums"]["takings"] > 0 < len(value["payouts"]), "a round where something happened"


KNOWN = (
    '{"entries":[{"creator":"a","first_view_ns":"1800000000000000000","meme":"m","owners":[{"owner":"a","paid":1,'
    '"takings":5}],"paid_seconds":5,"quality_ppm":900000,"scored_seconds":5,"shares":{"creator":0,"fee":0,"pool":4},'
    '"takings":5,"tenures":[[null,"a"],["1800000009000000000","é"]],"viewers":1}],"format":"satreel/ledger-round",'
    '"payout_transfers":["t"],"payouts":[[1,"m","a",4]],"ranking":["m"],"round":{"id":"r","locks_at_ns":'
    '"1800000030000000000","starts_at_ns":"1800000000000000000","state":"DISTRIBUTED"},"rules":{"creator_bp":1000,'
    '"free_below_s":3,"instant_bp":4500,"payout_min_sats":2,"platform_fee_bp":200,"ranks_paid":100,'
    '"scored_seconds_max":600,"second_price_sats":1,"session_max_s":3600,"version":1,"winner_bp":2000},"sums":'
    '{"carried_in":0,"carried_out":0,"creators":0,"fee":0,"owners":1,"paid_out":4,"pool":4,"refunded":0,"takings":5},'
    '"version":1}'
)


def test_the_format_stays_as_it_is() -> None:
    """Whoever changes it has to let its version grow: records are kept for ever."""
    record = parse(KNOWN.encode())
    assert encode(record).decode() == KNOWN
    first = record.entries[0]
    assert (first.fee_sats, first.creator_sats, first.pool_sats, first.owners[0].paid_sats) == (0, 0, 4, 1)
    assert (record.starts_ns, first.tenures[1].owner_id, record.payouts[0].transfer_id) == (
        START_NS,
        "é",
        "t",
    )


@settings(max_examples=20)
@given(SEEDS)
def test_it_agrees_with_the_result_on_chain(seed: int) -> None:
    world = play(seed, state=RoundState.DISTRIBUTED)
    ours = json.loads(encode(recorded(world)))
    on_chain = json.loads(_result_on_chain(ours))
    assert ours["rules"] == on_chain["rules"]
    assert ours["payouts"] == on_chain["payouts"]
    assert {key: ours["sums"][key] for key in on_chain["sums"]} == on_chain["sums"]
    entries = [[entry["meme"], entry["creator"], entry["quality_ppm"]] for entry in ours["entries"]]
    assert entries == on_chain["entries"]
    assert ours["ranking"] == [line[1] for line in on_chain["standings"] if line[2]]
    paid = [rounds.Payout(rank, meme, user, sats) for rank, meme, user, sats in ours["payouts"]]
    assert payouts_root(paid) == on_chain["payouts_root"]
    assert encode(recorded(world)).decode() == canonical_on_chain(ours)


def _result_on_chain(ours: dict[str, Any]) -> str:
    tally = tuple(
        rounds.MemeTally(
            entry["meme"],
            entry["paid_seconds"],
            entry["takings"],
            entry["shares"]["fee"],
            entry["shares"]["creator"],
            sum(part["paid"] for part in entry["owners"]),
            entry["shares"]["pool"],
            entry["scored_seconds"],
            entry["viewers"],
            rounds.InstantNs(int(entry["first_view_ns"])) if entry["first_view_ns"] else None,
        )
        for entry in ours["entries"]
    )
    sums = ours["sums"]
    paid = tuple(rounds.Payout(rank, meme, user, sats) for rank, meme, user, sats in ours["payouts"])
    distribution = rounds.Distribution(sums["carried_in"], sums["pool"], paid, sums["carried_out"], "ab" * 32)
    played = rounds.Round(
        id=ours["round"]["id"],
        number=1,
        state=rounds.State.CALCULATING,
        rules=rounds.Rules(**ours["rules"]),
        timing=rounds.Timing(),
        opens_after_ns=rounds.InstantNs(0),
        entries=tuple(
            rounds.Entry(entry["meme"], entry["creator"], entry["quality_ppm"], rounds.InstantNs(0))
            for entry in ours["entries"]
        ),
        anchor=rounds.Anchor(1, "00" * 32),
        starts_at_ns=rounds.InstantNs(int(ours["round"]["starts_at_ns"])),
        locks_at_ns=rounds.InstantNs(int(ours["round"]["locks_at_ns"])),
    )
    return result_record(played, tally, distribution)


def edit(change: Callable[[Any], object]) -> bytes:
    value = json.loads(encode(recorded(play(3, state=RoundState.DISTRIBUTED))))
    change(value)
    return json.dumps(value).encode()


def bad_records() -> Iterator[tuple[bytes, str]]:
    yield b"", "no JSON"
    yield b"\xff\xfe", "no JSON"
    yield b"[1]", "must be a JSON object"
    yield b"[" * 100_000, "nested too deeply"
    yield b'{"a": NaN}', "NaN is no number"
    yield b'{"a": 1, "a": 2}', "a key stands twice"
    yield b'{"a": ' + b"9" * 5_000 + b"}", "no JSON"
    yield b" " * 10_000_001, "more than 10000000 bytes"
    yield b"{}", "format: missing"
    yield edit(lambda v: v.update(format="satreel/round-result")), "not of format satreel/ledger-round"
    yield edit(lambda v: v.update(version=2)), "version 1"
    yield edit(lambda v: v.update(more=1)), "more: unknown"
    yield edit(lambda v: v.pop("sums")), "sums: missing"
    yield edit(lambda v: v["sums"].pop("fee")), "sums.fee: missing"
    yield edit(lambda v: v["sums"].update(fee=1.0)), "sums.fee: must be a whole number from 0"
    yield edit(lambda v: v["sums"].update(fee=True)), "sums.fee: must be a whole number from 0"
    yield edit(lambda v: v["sums"].update(fee=-1)), "sums.fee: must be a whole number from 0"
    yield edit(lambda v: v["sums"].update(fee=2**63)), "sums.fee: must be a whole number from 0"
    yield edit(lambda v: v["round"].update(state="PAID")), "round.state: must be one of OPEN"
    yield edit(lambda v: v["round"].update(state=[])), "round.state: must be one of OPEN"
    yield edit(lambda v: v["round"].update(starts_at_ns=5)), "round.starts_at_ns: must be nanoseconds"
    yield edit(lambda v: v["round"].update(starts_at_ns="9" * 19)), "round.starts_at_ns: must be a whole"
    yield edit(lambda v: v["round"].update(id="\x1b[31m")), "round.id: must be a text"
    yield edit(lambda v: v["rules"].update(creator_bp=10_001)), "rules.creator_bp: more than all"
    yield edit(lambda v: v.update(entries=[])), "entries: there are none"
    yield edit(lambda v: v.update(entries={})), "entries: must be a list of at most 100"
    yield edit(lambda v: v["entries"].append(v["entries"][0])), "a meme stands twice"
    yield edit(lambda v: v["entries"][2].update(quality_ppm=1_000_001)), "entries[2].quality_ppm: must be"
    yield edit(lambda v: v["entries"][2].update(owners=5)), "entries[2].owners: must be a list"
    yield edit(lambda v: v["entries"][2]["tenures"].append([None])), "must be a list of 2"
    yield edit(lambda v: v["payout_transfers"].pop()), "not of one length"
    yield edit(lambda v: v["payouts"][0].append(1)), "payouts[0]: must be a list of 4"
    yield edit(lambda v: v.update(ranking=["m"] * 101)), "ranking: must be a list of at most 100"


BAD = tuple(bad_records())


@pytest.mark.parametrize(("data", "told"), BAD, ids=[f"{number}" for number in range(len(BAD))])
def test_what_is_no_record_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(RecordInvalid) as refusal:
        parse(data)
    assert told in refusal.value.message
    assert len(refusal.value.message) < 400


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_nothing_but_a_refusal_comes_of_other_json(value: object) -> None:
    with pytest.raises(RecordInvalid):
        parse(json.dumps(value).encode())
