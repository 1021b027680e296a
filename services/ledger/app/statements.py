"""Statements: an account's postings and a viewer's sessions, newest first, from memory into the history.

Each names the one before it, so a list is a walk along numbers. Where memory ends the history goes on; what
leaves memory meanwhile is in the history, so nothing is missed. A page token is the number to go on at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mesh.pages import PageTokenInvalid, page_token, read_page_token
from services.ledger.app.history import History
from services.ledger.app.journal import Head
from services.ledger.app.queries import PAGE_DEFAULT, Page
from services.ledger.domain.books import SAT, user_account
from services.ledger.domain.machine import Machine
from services.ledger.domain.pages import page_of
from services.ledger.domain.sessions import SessionView
from services.ledger.domain.views import PostingView, find_account, view_posting

# Pages of the history that one request may read; then the list is short, and its token goes on.
PAGES_READ_MAX = 50

Item = TypeVar("Item")
Seen = TypeVar("Seen")


class Ask(Protocol):
    """Asks the state a question."""

    def __call__(self, question: Callable[[Machine, Head], Seen], /) -> Awaitable[Seen]:
        """Raises what the question raises."""
        ...


@dataclass(slots=True)
class Walk(Generic[Item]):
    """What was found so far, and the number to go on at; 0: that was all."""

    items: list[Item]
    number: int


async def postings(ask: Ask, history: History, name: str, size: int, token: str) -> Page[PostingView]:
    """The postings of an account. Raises ACCOUNT_NOT_FOUND, PageTokenInvalid, HistoryBroken."""
    walk = await ask(lambda machine, _: postings_in_memory(machine, name, size, token))
    await _go_on(walk, size, history.posting, lambda view: _before(view, name))
    return _page(f"postings {name}", walk)


async def sessions(ask: Ask, history: History, viewer_id: str, size: int, token: str) -> Page[SessionView]:
    """The sessions of a viewer. Raises PageTokenInvalid, HistoryBroken."""
    walk = await ask(lambda machine, _: sessions_in_memory(machine, viewer_id, size, token))
    await _go_on(walk, size, history.session, lambda view: _session_before(view, viewer_id))
    return _page(f"sessions {viewer_id}", walk)


def postings_in_memory(machine: Machine, name: str, size: int, token: str) -> Walk[PostingView]:
    """The part of a statement that is in memory."""
    books = machine.books
    newest = books.newest[find_account(books, name)]
    walk = Walk(list[PostingView](), _start(f"postings {name}", token, newest))
    while walk.number >= books.first_kept and len(walk.items) < (size or PAGE_DEFAULT):
        view = view_posting(books, walk.number)
        walk.number = _before(view, name)
        walk.items.append(view)
    return walk


def sessions_in_memory(machine: Machine, viewer_id: str, size: int, token: str) -> Walk[SessionView]:
    """The sessions of a viewer that are in memory."""
    account, meter = machine.books.find(user_account(viewer_id)), machine.meter
    newest = 0 if account is None else machine.books.newest_session[account]
    walk = Walk(list[SessionView](), _start(f"sessions {viewer_id}", token, newest))
    while walk.number >= meter.first_kept and len(walk.items) < (size or PAGE_DEFAULT):
        view = meter.view(walk.number)
        walk.number = _session_before(view, viewer_id)
        walk.items.append(view)
    return walk


async def _go_on(
    walk: Walk[Item], size: int, read: Callable[[int], Awaitable[Item]], before: Callable[[Item], int]
) -> None:
    """Goes on in the history."""
    pages: set[int] = set()
    while walk.number and len(walk.items) < (size or PAGE_DEFAULT):
        pages.add(page_of(walk.number))
        if len(pages) > PAGES_READ_MAX:
            return
        view = await read(walk.number)
        walk.number = before(view)
        walk.items.append(view)


def _start(scope: str, token: str, newest: int) -> int:
    """The number at which a list begins or goes on. Raises PageTokenInvalid."""
    if not token:
        return newest
    place = read_page_token(scope, token)
    if not place.isdecimal() or not 0 < int(place) <= newest:
        raise PageTokenInvalid
    return int(place)


def _before(view: PostingView, name: str) -> int:
    """The account's posting before this one. Raises PageTokenInvalid when it is not the account's."""
    if view.asset != SAT or name not in (view.debit, view.credit):
        raise PageTokenInvalid
    return view.debit_before if view.debit == name else view.credit_before


def _session_before(view: SessionView, viewer_id: str) -> int:
    if view.viewer_id != viewer_id:
        raise PageTokenInvalid
    return view.before


def _page(scope: str, walk: Walk[Item]) -> Page[Item]:
    return Page(tuple(walk.items), page_token(scope, str(walk.number) if walk.number else ""))
