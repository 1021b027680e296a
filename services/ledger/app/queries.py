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
    books, list_name = machine.books, f"postings|{name}"
    account_number = find_account(books, name)
    number = _place(list_name, token, books.postings_made) if token else books.newest[account_number]
    items: list[PostingView] = []
    while number >= books.first_kept and len(items) < (size or PAGE_DEFAULT):
        view = view_posting(books, number)
        items.append(view)
        number = view.debit_before if view.debit == name else view.credit_before
    return Page(tuple(items), _token(list_name, str(number)) if number else "")


def session(machine: Machine, session_id: str, caller: Caller) -> SessionView:
    """A session; a user sees only his own. Raises SESSION_NOT_FOUND."""
    found = machine.meter.get(session_id)
    if caller.user_id not in (None, found.command.viewer_id) and not caller.is_admin:
        raise Refused(Reason.SESSION_NOT_FOUND, "no session has this id", session_id=session_id)
    return view_session(found)


def sessions(machine: Machine, viewer_id: str, size: int, token: str) -> Page[SessionView]:
    """The sessions of a viewer, newest first."""
    list_name, meter = f"sessions|{viewer_id}", machine.meter
    account_number = machine.books.find(user_account(viewer_id))
    newest = 0 if account_number is None else machine.books.newest_session[account_number]
    number = _place(list_name, token, meter.sessions_made) if token else newest
    items: list[SessionView] = []
    while number >= meter.first_kept and len(items) < (size or PAGE_DEFAULT):
        items.append(meter.view(number))
        number = items[-1].before
    return Page(tuple(items), _token(list_name, str(number)) if number else "")


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


def _place(list_name: str, token: str, newest: int) -> int:
    """The number at which a list goes on. Raises PAGE_TOKEN_INVALID."""
    place = _open_token(list_name, token)
    if not place.isdecimal() or not 0 < int(place) <= newest:
        raise Refused(Reason.PAGE_TOKEN_INVALID, "the page token was not made by this list")
    return int(place)


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
