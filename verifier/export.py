"""The exported record against the payload on chain, and against its own inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from services.ledger.domain.explain import explain
from services.ledger.domain.json_values import RecordInvalid
from services.ledger.domain.public_record import EntryRecord, PublicRecord
from services.ledger.domain.record_json import parse
from services.ledger.domain.rounds import RoundState
from services.rounds.domain import values as rounds
from services.rounds.domain.failures import RoundImbalanceError
from services.rounds.domain.record import result_record
from verifier.findings import Findings, Unanswered, differences
from verifier.payload import Payload

SIDES = ("on chain", "in the export")
CHECKS = ("export", "agreement", "recomputation")


def read_export(data: bytes, name: str) -> PublicRecord:
    """The record that was exported. Raises Unanswered."""
    try:
        return parse(data)
    except RecordInvalid as problem:
        raise Unanswered(f"{name}: {problem}") from problem


def check_export(findings: Findings, payload: Payload, data: bytes, record: PublicRecord) -> None:
    """Hash, agreement, and recomputation of the exported record."""
    digest = hashlib.sha256(data).hexdigest()
    same = digest == payload.ledger_record_sha256
    flaw = f"its SHA-256 is {digest}, the record on chain names {payload.ledger_record_sha256}"
    findings.add("export", f"SHA-256 {digest}, as on chain", [] if same else [flaw])
    if record.round_id != payload.round_id:
        flaw = f"the export is of round {record.round_id}, the record on chain of round {payload.round_id}"
        findings.add("agreement", flaws=[flaw])
        findings.leave_out("the export is of another round", "recomputation")
        return
    findings.add(
        "agreement",
        "every value of the record on chain follows from the export",
        _disagreements(payload, record),
    )
    told = explain(record)
    entries = f"{len(record.entries)} entries, {len(record.payouts)} payouts"
    findings.add("recomputation", f"{entries}: all amounts follow from their inputs", told.mismatches)


def _disagreements(payload: Payload, record: PublicRecord) -> Iterator[str]:
    if record.state is not RoundState.DISTRIBUTED:
        yield f"round: the export is of a round that is {record.state.name}, only paid ones are on chain"
    try:
        expected = json.loads(_expected(payload, record))
    except RoundImbalanceError as problem:
        yield f"the export does not add up: {problem}"
        return
    ranked = [line.meme_id for line in payload.standings if line.score]
    yield from differences(ranked, list(record.ranking), "ranking", SIDES)
    for key, value in payload.value.items():
        yield from differences(value, expected[key], key, SIDES)


def _expected(payload: Payload, record: PublicRecord) -> str:
    """What the rounds service would write for this export; number, anchor and hash are not in it."""
    sums = record.sums
    played = rounds.Round(
        id=rounds.RoundId(record.round_id),
        number=payload.number,
        state=rounds.State.CALCULATING,
        rules=rounds.Rules(*(getattr(record.rules, name) for name in rounds.Rules.__slots__)),
        timing=rounds.Timing(),
        opens_after_ns=rounds.InstantNs(0),
        entries=tuple(_entry(entry) for entry in record.entries),
        anchor=rounds.Anchor(payload.anchor_height, payload.anchor_hash, payload.orphaned),
        starts_at_ns=rounds.InstantNs(record.starts_ns),
        locks_at_ns=rounds.InstantNs(record.locks_ns),
    )
    payouts = tuple(
        rounds.Payout(
            one.rank, rounds.MemeId(one.meme_id), rounds.UserId(one.user_id), rounds.Sats(one.amount_sats)
        )
        for one in record.payouts
    )
    distribution = rounds.Distribution(
        rounds.Sats(sums.carried_in),
        rounds.Sats(sums.pool),
        payouts,
        rounds.Sats(sums.carried_out),
        payload.ledger_record_sha256,
    )
    return result_record(played, tuple(map(_tally, record.entries)), distribution)


def _entry(entry: EntryRecord) -> rounds.Entry:
    meme, creator = rounds.MemeId(entry.meme_id), rounds.UserId(entry.creator_id)
    return rounds.Entry(meme, creator, entry.quality_ppm, rounds.InstantNs(0))


def _tally(entry: EntryRecord) -> rounds.MemeTally:
    return rounds.MemeTally(
        meme_id=rounds.MemeId(entry.meme_id),
        paid_seconds=entry.paid_seconds,
        takings_sats=rounds.Sats(entry.takings_sats),
        fee_sats=rounds.Sats(entry.fee_sats),
        creator_sats=rounds.Sats(entry.creator_sats),
        owner_sats=rounds.Sats(sum(part.paid_sats for part in entry.owners)),
        pool_sats=rounds.Sats(entry.pool_sats),
        scored_seconds=entry.scored_seconds,
        viewers=entry.viewers,
        first_view_ns=rounds.InstantNs(entry.first_view_ns) if entry.first_view_ns else None,
    )
