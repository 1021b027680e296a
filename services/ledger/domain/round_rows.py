"""A round with its books as a row of an image, and back."""

from __future__ import annotations

from typing import Any

from services.ledger.domain.columns import set_all
from services.ledger.domain.commands import Entry, OpenRound
from services.ledger.domain.rounds import MemeBook, Payout, Round, RoundState, Share
from services.ledger.domain.shares import Parameters

_ROUND_FIELDS = (
    "account", "carried_in_sats", "carried_out_sats", "pool_sats", "ranking", "refunded_sats", "state",
)  # fmt: skip
_BOOK_FIELDS = (
    "first_view_ns", "paid_seconds", "running", "scored_seconds", "takings", "tenures",
    "viewer_count", "viewers",
)  # fmt: skip
_SHARE_FIELDS = ("takings", "paid", "posted")


def round_row(one: Round) -> dict[str, Any]:
    """All that there is of a round, to be written as JSON."""
    return {
        "command": one.command,
        "fields": {name: getattr(one, name) for name in _ROUND_FIELDS},
        "payouts": one.payouts,
        "memes": [_book_row(book) for book in one.memes.values()],
    }


def _book_row(book: MemeBook) -> dict[str, Any]:
    return {
        "entry": book.entry,
        "takings_account": book.takings_account,
        "fields": {name: getattr(book, name) for name in _BOOK_FIELDS},
        "fee": _share_row(book.fee),
        "creator": _share_row(book.creator),
        "owners": [(owner, _share_row(share)) for owner, share in book.owners.items()],
    }


def _share_row(share: Share) -> list[Any]:
    return [share.role, share.account, *(getattr(share, name) for name in _SHARE_FIELDS)]


def load_round(row: dict[str, Any]) -> Round:
    """The round that such a row was made of."""
    asked = row["command"]
    rates, entries = Parameters(**asked.pop("parameters")), asked.pop("entries")
    command = OpenRound(parameters=rates, entries=tuple(Entry(**entry) for entry in entries), **asked)
    one = Round(command, row["fields"]["account"])
    set_all(one, row["fields"])
    one.state, one.ranking = RoundState(one.state), tuple(one.ranking)
    one.payouts = tuple(Payout(**payout) for payout in row["payouts"])
    for book_row in row["memes"]:
        book = _load_book(book_row, rates)
        one.memes[book.entry.meme_id] = book
    return one


def _load_book(row: dict[str, Any], rates: Parameters) -> MemeBook:
    fee, creator = _load_share(row["fee"]), _load_share(row["creator"])
    book = MemeBook(Entry(**row["entry"]), rates, row["takings_account"], fee, creator)
    set_all(book, row["fields"])
    book.tenures = [(since_ns, owner_id) for since_ns, owner_id in book.tenures]
    book.owners = {owner_id: _load_share(share) for owner_id, share in row["owners"]}
    book.since_ns, owner_id = book.tenures[-1]
    book.owner = book.owners[owner_id]
    return book


def _load_share(row: list[Any]) -> Share:
    share = Share(row[0], row[1])
    set_all(share, dict(zip(_SHARE_FIELDS, row[2:], strict=True)))
    return share
