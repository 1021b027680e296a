"""Questions to committed state, and who may ask them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh.caller import Caller
from services.ledger.domain.books import SAT, user_account
from services.ledger.domain.machine import Machine
from services.ledger.domain.meter import SessionView, view_session
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.titles import Title
from services.ledger.domain.views import (
    AccountView,
    PostingView,
    RoundView,
    find_account,
    view_account,
    view_posting,
    view_round,
)

PAGE_DEFAULT = 50
GATEWAY = "gateway"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list; the token is empty at its end."""

    items: tuple[Item, ...]
    next_token: str


def check_account(caller: Caller, name: str) -> None:
    """Users see their own account, administrators all, services what they need. Raises ACCOUNT_FORBIDDEN."""
    if caller.is_admin:
        return
    if caller.user_id is not None:
        allowed = name == user_account(caller.user_id)
    else:
        # What the gateway asks for without a user is for everybody's eyes.
        allowed = caller.service != GATEWAY or not name.startswith("user:")
    if not allowed:
        raise Refused(Reason.ACCOUNT_FORBIDDEN, "this account is not for you", account=name)


def account(machine: Machine, name: str, asset: str) -> AccountView:
    """An account. Raises ACCOUNT_NOT_FOUND."""
    return view_account(machine.books, find_account(machine.books, name, asset or SAT))


def accounts(machine: Machine, names: Sequence[str]) -> list[AccountView]:
    """Those of the satoshi accounts that exist."""
    found = []
    for name in names:
        try:
            found.append(account(machine, name, SAT))
        except Refused:
            continue
    return found


def postings(machine: Machine, name: str, size: int, token: str) -> Page[PostingView]:
    """The postings of an account, newest first."""
    books = machine.books
    history = books.history[find_account(books, name)]
    page = _newest_first(history, f"postings|{name}", size, token)
    return Page(tuple(view_posting(books, number) for number in page.items), page.next_token)


def session(machine: Machine, session_id: str, caller: Caller) -> SessionView:
    """A session; a user sees only his own. Raises SESSION_NOT_FOUND."""
    found = machine.meter.get(session_id)
    if caller.user_id not in (None, found.command.viewer_id) and not caller.is_admin:
        raise Refused(Reason.SESSION_NOT_FOUND, "no session has this id", session_id=session_id)
    return view_session(found)


def sessions(machine: Machine, viewer_id: str, size: int, token: str) -> Page[SessionView]:
    """The sessions of a viewer, newest first."""
    ids = machine.meter.by_viewer.get(viewer_id, [])
    page = _newest_first(ids, f"sessions|{viewer_id}", size, token)
    return Page(tuple(view_session(machine.meter.by_id[id_]) for id_ in page.items), page.next_token)


def titles(machine: Machine, meme_ids: Sequence[str]) -> list[Title]:
    """Those of the titles that exist."""
    by_meme = machine.titles.by_meme
    return [by_meme[meme_id] for meme_id in meme_ids if meme_id in by_meme]


def titles_of(machine: Machine, owner_id: str, size: int, token: str) -> Page[Title]:
    """The titles a user owns, by meme id."""
    list_name = f"titles|{owner_id}"
    after = _open_token(list_name, token)
    owned = sorted(id_ for id_ in machine.titles.by_owner.get(owner_id, ()) if id_ > after)
    taken = owned[: size or PAGE_DEFAULT]
    next_token = _token(list_name, taken[-1]) if len(owned) > len(taken) else ""
    return Page(tuple(machine.titles.by_meme[id_] for id_ in taken), next_token)


def current_round(machine: Machine) -> RoundView | None:
    """The round that is open or locked."""
    return None if machine.rounds.current is None else view_round(machine.rounds.current)


def _newest_first(items: Sequence[Item], list_name: str, size: int, token: str) -> Page[Item]:
    """A page of a list that only grows: its token is the place of the oldest item that was shown."""
    end = len(items)
    if token:
        place = _open_token(list_name, token)
        if not place.isdecimal() or int(place) > end:
            raise Refused(Reason.PAGE_TOKEN_INVALID, "the page token was not made by this list")
        end = int(place)
    start = max(0, end - (size or PAGE_DEFAULT))
    return Page(tuple(items[start:end][::-1]), _token(list_name, str(start)) if start else "")


def _token(list_name: str, place: str) -> str:
    return base64.urlsafe_b64encode(f"{list_name}|{place}".encode()).decode()


def _open_token(list_name: str, token: str) -> str:
    if not token:
        return ""
    try:
        name, _, place = base64.urlsafe_b64decode(token.encode()).decode().rpartition("|")
    except (binascii.Error, ValueError):
        name, place = "", ""
    if name != list_name:
        raise Refused(Reason.PAGE_TOKEN_INVALID, "the page token was not made by this list")
    return place
