"""Pages of the history: postings and sessions by number, a line each that can be read alone.

What a page says follows from the journal alone, so whoever writes it writes the same bytes. Lines are JSON
rows in the order of the fields of `PostingView` and `SessionView`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass

import orjson

from services.ledger.domain.books import Books
from services.ledger.domain.meter import Meter
from services.ledger.domain.sessions import SessionView, StopReason
from services.ledger.domain.views import PostingView

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Written:
    """What the history holds: the numbers of the last posting and session on whole pages, the last round."""

    postings: int = 0
    sessions: int = 0
    last_round: str = ""


def page_of(number: int) -> int:
    """The page, from 0, that a number stands on; numbers begin at 1."""
    return (number - 1) // PAGE


def numbers_of(page: int) -> range:
    """The numbers on a page."""
    return range(page * PAGE + 1, (page + 1) * PAGE + 1)


def whole_pages(first: int, last: int) -> range:
    """The pages all of whose numbers lie in first..last."""
    return range(-(-(first - 1) // PAGE), last // PAGE)


def postings_waiting(books: Books) -> range:
    """Whole pages of postings that are in memory."""
    return whole_pages(books.first_kept, books.postings_made)


def sessions_waiting(meter: Meter) -> range:
    """Whole pages of sessions that nothing will change any more."""
    return whole_pages(meter.first_kept, meter.first_kept + len(meter.leaving) - 1)


def postings_page(books: Books, page: int) -> bytes:
    """A whole page of postings."""
    return b"\n".join(_posting_lines(books, numbers_of(page)))


def sessions_page(meter: Meter, page: int) -> bytes:
    """A whole page of sessions."""
    numbers = numbers_of(page)
    start = numbers.start - meter.first_kept
    return b"\n".join(orjson.dumps(astuple(one)) for one in meter.leaving[start : start + PAGE])


def lines_of(page: bytes) -> list[bytes]:
    """The lines of a page, the lowest number first."""
    return page.split(b"\n")


def read_posting(line: bytes) -> PostingView:
    """The posting on a line."""
    return PostingView(*orjson.loads(line))


def read_session(line: bytes) -> SessionView:
    """The session on a line."""
    row = orjson.loads(line)
    row[_STOP] = StopReason(row[_STOP])
    return SessionView(*row)


_STOP = SessionView.__slots__.index("stop")


def _posting_lines(books: Books, numbers: range) -> Iterator[bytes]:
    names, assets = books.names, books.assets
    start = numbers.start - books.first_kept
    for number, one in zip(numbers, books.postings[start : start + PAGE], strict=True):
        yield orjson.dumps(
            (
                number, one.transfer_id, names[one.debit], names[one.credit], assets[one.debit], one.amount,
                one.memo, one.at_ns, one.debit_before, one.credit_before,
            )
        )  # fmt: skip
