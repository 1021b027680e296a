"""The public record as canonical JSON: one record, one text. README.md describes the format.

Where it says the same as the result that the rounds service writes on chain, it uses the same keys and rows.
Instants are nanoseconds as decimal text: they exceed 2^53, above which many readers of JSON round.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import TypeAlias

from services.ledger.domain.json_values import Checked, RecordInvalid, read_object
from services.ledger.domain.public_record import EntryRecord, OwnerPart, PublicRecord, Sums, Tenure
from services.ledger.domain.rounds import ENTRIES_MAX, Payout, RoundState
from services.ledger.domain.shares import BASIS_POINTS, Parameters

FORMAT = "satreel/ledger-round"
FORMAT_VERSION = 1
RECORD_BYTES_MAX = 10_000_000
QUALITY_MAX = 1_000_000

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | None"

_STATES = {state.name: state for state in RoundState}


def encode(record: PublicRecord) -> bytes:
    """Keys sorted, no spaces, UTF-8."""
    value: Json = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "round": {
            "id": record.round_id,
            "state": record.state.name,
            "starts_at_ns": str(record.starts_ns),
            "locks_at_ns": str(record.locks_ns),
        },
        "rules": asdict(record.rules),
        "entries": [_entry_json(entry) for entry in record.entries],
        "ranking": list(record.ranking),
        "payouts": [[paid.rank, paid.meme_id, paid.user_id, paid.amount_sats] for paid in record.payouts],
        "payout_transfers": [paid.transfer_id for paid in record.payouts],
        "sums": asdict(record.sums),
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse(data: bytes) -> PublicRecord:
    """The record that was encoded; spaces and the order of keys do not matter. Raises RecordInvalid.

    That its numbers follow from each other is not looked at here: `explain` does.
    """
    if len(data) > RECORD_BYTES_MAX:
        raise RecordInvalid(f"the record has more than {RECORD_BYTES_MAX} bytes")
    record = read_object(data)
    if record.get("format").value != FORMAT or record.get("version").value != FORMAT_VERSION:
        raise RecordInvalid(f"the record is not of format {FORMAT}, version {FORMAT_VERSION}")
    record.only(
        "format", "version", "round", "rules", "entries", "ranking", "payouts", "payout_transfers", "sums"
    )
    head = record.get("round").only("id", "state", "starts_at_ns", "locks_at_ns")
    return PublicRecord(
        round_id=head.get("id").text(),
        state=head.get("state").one_of(_STATES),
        rules=_rules(record.get("rules")),
        starts_ns=head.get("starts_at_ns").instant(),
        locks_ns=head.get("locks_at_ns").instant(),
        entries=_entries(record.get("entries")),
        ranking=tuple(meme.text() for meme in record.get("ranking").items(ENTRIES_MAX)),
        payouts=_payouts(record.get("payouts"), record.get("payout_transfers")),
        sums=Sums(**_numbers(record.get("sums"), (field.name for field in fields(Sums)))),
    )


def _entry_json(entry: EntryRecord) -> Json:
    return {
        "meme": entry.meme_id,
        "creator": entry.creator_id,
        "quality_ppm": entry.quality_ppm,
        "paid_seconds": entry.paid_seconds,
        "scored_seconds": entry.scored_seconds,
        "viewers": entry.viewers,
        "first_view_ns": str(entry.first_view_ns) if entry.first_view_ns else None,
        "takings": entry.takings_sats,
        "shares": {"fee": entry.fee_sats, "creator": entry.creator_sats, "pool": entry.pool_sats},
        "owners": [
            {"owner": part.owner_id, "takings": part.takings_sats, "paid": part.paid_sats}
            for part in entry.owners
        ],
        "tenures": [
            [str(tenure.since_ns) if tenure.since_ns else None, tenure.owner_id] for tenure in entry.tenures
        ],
    }


def _entries(value: Checked) -> tuple[EntryRecord, ...]:
    entries = tuple(_entry(item) for item in value.items(ENTRIES_MAX))
    if not entries or len({entry.meme_id for entry in entries}) != len(entries):
        raise RecordInvalid("entries: there are none, or a meme stands twice")
    return entries


def _entry(value: Checked) -> EntryRecord:
    value.only(
        "meme", "creator", "quality_ppm", "paid_seconds", "scored_seconds", "viewers", "first_view_ns",
        "takings", "shares", "owners", "tenures",
    )  # fmt: skip
    shares = value.get("shares").only("fee", "creator", "pool")
    return EntryRecord(
        meme_id=value.get("meme").text(),
        creator_id=value.get("creator").text(),
        quality_ppm=value.get("quality_ppm").whole(most=QUALITY_MAX),
        paid_seconds=value.get("paid_seconds").whole(),
        scored_seconds=value.get("scored_seconds").whole(),
        viewers=value.get("viewers").whole(),
        first_view_ns=value.get("first_view_ns").instant_or_none(),
        takings_sats=value.get("takings").whole(),
        fee_sats=shares.get("fee").whole(),
        creator_sats=shares.get("creator").whole(),
        owners=tuple(_owner(item) for item in value.get("owners").items()),
        pool_sats=shares.get("pool").whole(),
        tenures=tuple(
            Tenure(since.instant_or_none(), owner.text())
            for since, owner in (item.row(2) for item in value.get("tenures").items())
        ),
    )


def _owner(value: Checked) -> OwnerPart:
    value.only("owner", "takings", "paid")
    return OwnerPart(value.get("owner").text(), value.get("takings").whole(), value.get("paid").whole())


def _payouts(rows: Checked, transfers: Checked) -> tuple[Payout, ...]:
    ids = [item.text() for item in transfers.items(ENTRIES_MAX)]
    paid = [item.row(4) for item in rows.items(ENTRIES_MAX)]
    if len(ids) != len(paid):
        raise RecordInvalid("payouts and payout_transfers are not of one length")
    return tuple(
        Payout(rank.whole(), meme.text(), user.text(), sats.whole(), transfer_id)
        for (rank, meme, user, sats), transfer_id in zip(paid, ids, strict=True)
    )


def _rules(value: Checked) -> Parameters:
    numbers = _numbers(value, (field.name for field in fields(Parameters)))
    for name, number in numbers.items():
        if name.endswith("_bp") and number > BASIS_POINTS:
            raise RecordInvalid(f"rules.{name}: more than all")
    return Parameters(**numbers)


def _numbers(value: Checked, names: Iterable[str]) -> dict[str, int]:
    known = tuple(names)
    value.only(*known)
    return {name: value.get(name).whole() for name in known}
