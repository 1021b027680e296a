"""Who is calling: checked by the server's interceptors, known inside the call, passed on by channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from mesh.errors import Unauthenticated

ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """The service that calls and, if one stands behind the call, the signed-in user."""

    service: str
    user_id: str | None = None
    roles: frozenset[str] = frozenset()
    session_id: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the user holds the administrator role."""
        return ADMIN in self.roles

    def require_user(self) -> str:
        """The user's id. Raises Unauthenticated when no user stands behind the call."""
        if self.user_id is None:
            raise Unauthenticated
        return self.user_id


# Outside of any call (background tasks, start-up) nobody is calling.
NOBODY = Caller(service="")

_caller: ContextVar[Caller] = ContextVar("satreel_caller", default=NOBODY)
_user_token: ContextVar[str] = ContextVar("satreel_user_token", default="")


def current() -> Caller:
    """Who called, inside a call; NOBODY outside."""
    return _caller.get()


def user_token() -> str:
    """The signed token of the user behind the call, to be sent along; "" when there is none."""
    return _user_token.get()


def enter(caller: Caller, token: str = "") -> None:
    """Says who calls, for the rest of this task. For interceptors."""
    _caller.set(caller)
    _user_token.set(token)


@contextmanager
def acting_as(caller: Caller, token: str = "") -> Iterator[None]:
    """Says who calls within the block: the gateway uses it for its signed-in users, tests for theirs."""
    caller_before, token_before = _caller.set(caller), _user_token.set(token)
    try:
        yield
    finally:
        _caller.reset(caller_before)
        _user_token.reset(token_before)


@contextmanager
def without_user() -> Iterator[None]:
    """Calls made within the block are the service's own: the user's token is not sent along."""
    with acting_as(replace(current(), user_id=None, roles=frozenset(), session_id=None)):
        yield
