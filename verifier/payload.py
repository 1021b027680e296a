"""The payload of a record on chain: read strictly, and checked against itself.

Its format is that of docs/ROUND-RECORD.md; rules and formulas are those of the services themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise

from services.ledger.domain.json_values import Checked, RecordInvalid, read_object
from services.ledger.domain.shares import BASIS_POINTS, Parameters, entitlement, pool_payouts
from services.rounds.domain.record import FORMAT, FORMAT_VERSION, canonical, payouts_root
from services.rounds.domain.values import MemeId, Payout, Sats, UserId

KEYS = (
    "format", "version", "round", "rules", "anchor", "entries", "standings", "payouts", "payouts_root",
    "sums", "ledger_record_sha256",
)  # fmt: skip
SUMS = ("takings", "fee", "creators", "owners", "carried_in", "pool", "paid_out", "carried_out")
PAYLOAD_BYTES_MAX = 90_000
ENTRIES_MAX = 100
QUALITY_MAX = 1_000_000
_NEVER = 1 << 63
_HASH_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the standings."""

    rank: int
    meme_id: str
    score: int
    scored_seconds: int
    paid_seconds: int
    viewers: int
    first_view_ms: int | None
    takings: int
    fee: int
    creator: int
    owners: int
    pool: int

    @property
    def order(self) -> tuple[int, int, int]:
        """What it is ranked by, as far as milliseconds tell."""
        return -self.score, -self.viewers, _NEVER if self.first_view_ms is None else self.first_view_ms


@dataclass(frozen=True, slots=True)
class Payload:
    """A record's payload, its numbers not yet checked against each other."""

    round_id: str
    number: int
    rules: Parameters
    anchor_height: int
    anchor_hash: str
    orphaned: tuple[str, ...]
    # Of each the meme, its creator, and its quality in ppm.
    entries: tuple[tuple[str, str, int], ...]
    standings: tuple[Line, ...]
    payouts: tuple[Payout, ...]
    payouts_root: str
    sums: dict[str, int]
    ledger_record_sha256: str
    # As it stands on chain.
    value: dict[str, object]


def read_payload(data: bytes) -> Payload:
    """The payload that these bytes are. Raises RecordInvalid."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise RecordInvalid(f"the payload has more than {PAYLOAD_BYTES_MAX} bytes")
    found = read_object(data)
    if found.get("format").value != FORMAT or found.get("version").value != FORMAT_VERSION:
        raise RecordInvalid(f"not of format {FORMAT}, version {FORMAT_VERSION}")
    found.only(*KEYS)
    value = json.loads(data)
    if canonical(value).encode(errors="surrogatepass") != data:
        raise RecordInvalid("not canonical: keys sorted, no spaces, UTF-8")
    head = found.get("round").only("id", "number", "starts_at_ms", "locks_at_ms")
    for key in ("starts_at_ms", "locks_at_ms"):
        head.get(key).whole()
    anchor = found.get("anchor").only("height", "hash", "orphaned")
    return Payload(
        round_id=head.get("id").text(),
        number=head.get("number").whole(),
        rules=_rules(found.get("rules")),
        anchor_height=anchor.get("height").whole(),
        anchor_hash=_hash(anchor.get("hash")),
        orphaned=tuple(map(_hash, anchor.get("orphaned").items())),
        entries=tuple(_entry(row) for row in found.get("entries").items(ENTRIES_MAX)),
        standings=tuple(_line(row) for row in found.get("standings").items(ENTRIES_MAX)),
        payouts=tuple(_payout(row) for row in found.get("payouts").items(ENTRIES_MAX)),
        payouts_root=_hash(found.get("payouts_root")),
        sums={key: found.get("sums").only(*SUMS).get(key).whole() for key in SUMS},
        ledger_record_sha256=_hash(found.get("ledger_record_sha256")),
        value=value,
    )


def _rules(value: Checked) -> Parameters:
    names = [one.name for one in fields(Parameters)]
    value.only(*names)
    return Parameters(
        **{name: value.get(name).whole(BASIS_POINTS if name.endswith("_bp") else 1 << 31) for name in names}
    )


def _hash(value: Checked) -> str:
    text = value.text()
    if len(text) != _HASH_DIGITS or not set(text) <= set("0123456789abcdef"):
        raise value.wrong("a hash of 64 hex digits")
    return text


def _entry(row: Checked) -> tuple[str, str, int]:
    meme, creator, quality = row.row(3)
    return meme.text(), creator.text(), quality.whole(QUALITY_MAX)


def _line(row: Checked) -> Line:
    rank, meme, score, scored, paid, viewers, first, *sats = row.row(12)
    first_view_ms = None if first.value is None else first.whole()
    whole = (scored.whole(), paid.whole(), viewers.whole())
    return Line(
        rank.whole(), meme.text(), score.whole(1 << 90), *whole, first_view_ms, *(one.whole() for one in sats)
    )


def _payout(row: Checked) -> Payout:
    rank, meme, user, sats = row.row(4)
    return Payout(rank.whole(), MemeId(meme.text()), UserId(user.text()), Sats(sats.whole()))


def root_flaws(payload: Payload) -> Iterator[str]:
    """Where the root is not that of the payouts."""
    root = payouts_root(payload.payouts)
    if root != payload.payouts_root:
        yield f"the payouts have the root {root}, the record says {payload.payouts_root}"


def own_flaws(payload: Payload) -> Iterator[str]:
    """Where the payload contradicts itself: ranking, shares, sums, payouts."""
    yield from _ranking_flaws(payload)
    for line in payload.standings:
        yield from _line_flaws(line, payload.rules)
    yield from _sums_flaws(payload)
    yield from _payout_flaws(payload)


def _ranking_flaws(payload: Payload) -> Iterator[str]:
    quality = {meme: ppm for meme, _, ppm in payload.entries}
    if len(quality) != len(payload.entries):
        yield "entries: a meme stands twice"
    lines = payload.standings
    if sorted(line.meme_id for line in lines) != sorted(quality):
        yield "standings: not one line for each entry"
    if [line.rank for line in lines] != list(range(1, len(lines) + 1)):
        yield "standings: ranks do not count from 1"
    for line in lines:
        score = line.scored_seconds * quality.get(line.meme_id, 0)
        if line.score != score:
            told = f"score of rank {line.rank} is {line.score}"
            yield f"standings: {told}, its seconds and quality make {score}"
    for above, below in pairwise(lines):
        if above.order > below.order:
            yield f"standings: rank {below.rank} is better than rank {above.rank}"


def _line_flaws(line: Line, rules: Parameters) -> Iterator[str]:
    due = entitlement(line.takings, rules)
    told = ((line.fee, due.fee_sats, "fee"), (line.creator, due.creator_sats, "creator's part"))
    if line.takings != line.paid_seconds * rules.second_price_sats:
        yield f"standings: takings of rank {line.rank} are not its seconds at the price"
    for recorded, recomputed, what in told:
        if recorded != recomputed:
            yield f"standings: {what} of rank {line.rank} is {recorded}, by the rules {recomputed}"
    if line.takings != line.fee + line.creator + line.owners + line.pool:
        yield f"standings: shares of rank {line.rank} are not its takings"


def _sums_flaws(payload: Payload) -> Iterator[str]:
    lines, sums = payload.standings, payload.sums
    expected = {
        "takings": sum(line.takings for line in lines),
        "fee": sum(line.fee for line in lines),
        "creators": sum(line.creator for line in lines),
        "owners": sum(line.owners for line in lines),
        "pool": sums["carried_in"] + sum(line.pool for line in lines),
        "paid_out": sum(paid.amount_sats for paid in payload.payouts),
        "carried_out": sums["pool"] - sums["paid_out"],
    }
    for key, wanted in expected.items():
        if sums[key] != wanted:
            yield f"sums: {key} is {sums[key]}, the record's own lines make {wanted}"


def _payout_flaws(payload: Payload) -> Iterator[str]:
    creators = {meme: creator for meme, creator, _ in payload.entries}
    ranked = [line.meme_id for line in payload.standings if line.score]
    due = pool_payouts(payload.sums["pool"], len(ranked), payload.rules)
    wanted = [
        Payout(rank, MemeId(meme), UserId(creators.get(meme, "")), Sats(sats))
        for rank, (meme, sats) in enumerate(zip(ranked, due, strict=False), 1)
    ]
    for place in range(max(len(wanted), len(payload.payouts))):
        recorded, recomputed = (_paid(rows, place) for rows in (list(payload.payouts), wanted))
        if recorded != recomputed:
            yield f"payouts: rank {place + 1} is recorded as {recorded}, by the rules it is {recomputed}"


def _paid(rows: list[Payout], place: int) -> str:
    if place >= len(rows):
        return "none"
    paid = rows[place]
    return f"{paid.amount_sats} sat to user {paid.user_id} for rank {paid.rank}, meme {paid.meme_id}"
