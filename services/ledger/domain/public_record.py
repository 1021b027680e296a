"""A round's public record: all that is needed to recompute its payouts and to show it, without the ledger.

It names no viewer. How it is written as JSON: `record_json`; what follows from it: `explain`.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.ledger.domain.rounds import MemeBook, Payout, Round, RoundState
from services.ledger.domain.shares import Parameters
from services.ledger.domain.views import RoundView, Tally, view_round


@dataclass(frozen=True, slots=True)
class OwnerPart:
    """What a meme took while somebody owned it (in all their tenures), and what they got of it at once."""

    owner_id: str
    takings_sats: int
    paid_sats: int


@dataclass(frozen=True, slots=True)
class Tenure:
    """Who owned a meme from when on; 0: since before the round."""

    since_ns: int
    owner_id: str


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """A meme in the round: what it was judged by, what it took, and what was paid of it at once."""

    meme_id: str
    creator_id: str
    quality_ppm: int
    paid_seconds: int
    scored_seconds: int
    viewers: int
    # 0: nobody watched.
    first_view_ns: int
    takings_sats: int
    fee_sats: int
    creator_sats: int
    owners: tuple[OwnerPart, ...]
    pool_sats: int
    tenures: tuple[Tenure, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """Satoshis of the whole round; the same names as in the result on chain, and what a void gave back."""

    takings: int
    fee: int
    creators: int
    owners: int
    carried_in: int
    pool: int
    paid_out: int
    carried_out: int
    refunded: int


@dataclass(frozen=True, slots=True)
class PublicRecord:
    """The record. Before the round is distributed or voided it tells how things stand so far."""

    round_id: str
    state: RoundState
    rules: Parameters
    starts_ns: int
    locks_ns: int
    entries: tuple[EntryRecord, ...]
    ranking: tuple[str, ...]
    payouts: tuple[Payout, ...]
    sums: Sums


def record_of(recorded: Round) -> PublicRecord:
    """The record of a round as it stands."""
    view = view_round(recorded)
    books = recorded.memes.values()
    return PublicRecord(
        round_id=view.id,
        state=view.state,
        rules=view.parameters,
        starts_ns=view.starts_ns,
        locks_ns=view.locks_ns,
        entries=tuple(_entry(book, tally) for book, tally in zip(books, view.tallies, strict=True)),
        ranking=recorded.ranking,
        payouts=view.payouts,
        sums=_sums(view),
    )


def view_of(record: PublicRecord) -> RoundView:
    """The round as `view_round` shows it; only the running sessions of an open round are not on record."""
    return RoundView(
        id=record.round_id,
        state=record.state,
        parameters=record.rules,
        starts_ns=record.starts_ns,
        locks_ns=record.locks_ns,
        tallies=tuple(_tally(entry) for entry in record.entries),
        carried_in=record.sums.carried_in,
        pool=record.sums.pool,
        payouts=record.payouts,
        carried_out=record.sums.carried_out,
        refunded=record.sums.refunded,
    )


def _entry(book: MemeBook, tally: Tally) -> EntryRecord:
    owners = (OwnerPart(owner_id, share.takings, share.paid) for owner_id, share in book.owners.items())
    return EntryRecord(
        meme_id=tally.meme_id,
        creator_id=book.entry.creator_id,
        quality_ppm=book.entry.quality_ppm,
        paid_seconds=tally.paid_seconds,
        scored_seconds=tally.scored_seconds,
        viewers=tally.viewers,
        first_view_ns=tally.first_view_ns,
        takings_sats=tally.takings,
        fee_sats=tally.fee,
        creator_sats=tally.creator,
        owners=tuple(owners),
        pool_sats=tally.pool,
        tenures=tuple(Tenure(since_ns, owner_id) for since_ns, owner_id in book.tenures),
    )


def _tally(entry: EntryRecord) -> Tally:
    return Tally(
        meme_id=entry.meme_id,
        paid_seconds=entry.paid_seconds,
        takings=entry.takings_sats,
        fee=entry.fee_sats,
        creator=entry.creator_sats,
        owner=sum(part.paid_sats for part in entry.owners),
        pool=entry.pool_sats,
        scored_seconds=entry.scored_seconds,
        viewers=entry.viewers,
        first_view_ns=entry.first_view_ns,
        running_sessions=0,
    )


def _sums(view: RoundView) -> Sums:
    tallies = view.tallies
    return Sums(
        takings=sum(tally.takings for tally in tallies),
        fee=sum(tally.fee for tally in tallies),
        creators=sum(tally.creator for tally in tallies),
        owners=sum(tally.owner for tally in tallies),
        carried_in=view.carried_in,
        pool=view.pool,
        paid_out=sum(payout.amount_sats for payout in view.payouts),
        carried_out=view.carried_out,
        refunded=view.refunded,
    )
