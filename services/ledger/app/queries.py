"""Questions to committed state, and who may ask them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh.caller import Caller
from mesh.pages import page_token, read_page_token
from services.ledger.domain.books import SAT, user_account
from services.ledger.domain.machine import Machine
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.sessions import SessionView, view_session
from services.ledger.domain.titles import Title
from services.ledger.domain.views import (
    AccountView,
    RoundView,
    find_account,
    view_account,
    view_round,
)

PAGE_DEFAULT = 50
# Where strangers come in.
EDGE = "edge"
DOORS = frozenset({"gateway", EDGE})

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
        # What is asked for at a door without a user is for everybody's eyes.
        allowed = caller.service not in DOORS or not name.startswith("user:")
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


def session(machine: Machine, session_id: str, caller: Caller) -> SessionView:
    """A session; a user sees only his own, nobody at the edge any. Raises SESSION_NOT_FOUND."""
    found = machine.meter.get(session_id)
    # Gateways ask as nobody before they serve a film.
    is_shown = caller.service != EDGE if caller.user_id is None else caller.user_id == found.command.viewer_id
    if not is_shown and not caller.is_admin:
        raise Refused(Reason.SESSION_NOT_FOUND, "no session has this id", session_id=session_id)
    return view_session(found)


def titles(machine: Machine, meme_ids: Sequence[str]) -> list[Title]:
    """Those of the titles that exist."""
    by_meme = machine.titles.by_meme
    return [by_meme[meme_id] for meme_id in meme_ids if meme_id in by_meme]


def titles_of(machine: Machine, owner_id: str, size: int, token: str) -> Page[Title]:
    """The titles a user owns, by meme id. Raises PageTokenInvalid."""
    scope = f"titles {owner_id}"
    after = read_page_token(scope, token)
    owned = sorted(id_ for id_ in machine.titles.by_owner.get(owner_id, ()) if id_ > after)
    taken = owned[: size or PAGE_DEFAULT]
    next_token = page_token(scope, taken[-1]) if len(owned) > len(taken) else ""
    return Page(tuple(machine.titles.by_meme[id_] for id_ in taken), next_token)


def current_round(machine: Machine) -> RoundView | None:
    """The round that is open or locked."""
    return None if machine.rounds.current is None else view_round(machine.rounds.current)
