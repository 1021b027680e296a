"""Sessions: a log-in on one device, kept by two tokens of which only digests are stored.

An access token is "<session>.<secret>". A refresh token is "<session>.<family>.<secret>": the family stays
the same for the whole session, the secret changes with each use. Whoever shows the right family with an old
secret holds a token that was used before, so it was copied, and the session is revoked; a stranger who only
knows the session's id cannot cause that.

A client whose answer was lost may ask again, if it named its request: the same token with the same name (a
secret of the client's own, sent with the refresh and nowhere else) within REPEAT_S is the same use. It gets
another pair, and the one that was lost is worth nothing. A thief of the token does not know the name.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from typing import NewType, Protocol

from mesh.clock import NS_PER_S
from services.identity.domain.failures import RefreshTokenReused, SessionInvalid
from services.identity.domain.users import UserId

SessionId = NewType("SessionId", str)

ACCESS_LIFETIME_S = 15 * 60
REPEAT_S = 60
REFRESH_LIFETIME_S = 30 * 24 * 3600
SESSIONS_PER_USER_MAX = 100

_SESSION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Randomness(Protocol):
    """Where secrets come from."""

    def __call__(self) -> str:
        """A fresh URL-safe text of at least 128 random bits, without a dot."""
        ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """The secrets of a session. Not kept, and hidden from logs."""

    access: str
    refresh: str

    def __repr__(self) -> str:
        return "Tokens(…)"


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored: digests, no secrets."""

    id: SessionId
    user_id: UserId
    client: str
    created_ns: int
    refreshed_ns: int
    access_digest: str
    refresh_digest: str
    family_digest: str
    # Of the last refresh: its token and what the client called the request; "" when there is none.
    used_digest: str = ""
    request_digest: str = ""

    @property
    def access_expires_ns(self) -> int:
        """End of the access token."""
        return self.refreshed_ns + ACCESS_LIFETIME_S * NS_PER_S

    @property
    def refresh_expires_ns(self) -> int:
        """End of the session unless it is refreshed."""
        return self.refreshed_ns + REFRESH_LIFETIME_S * NS_PER_S

    def check_access(self, token: str, now_ns: int) -> None:
        """Raises SessionInvalid unless this is the session's access token, and still good."""
        if not _same(self.access_digest, token) or now_ns >= self.access_expires_ns:
            raise SessionInvalid

    def check_refresh(self, token: str, request_id: str, now_ns: int) -> None:
        """Raises SessionInvalid, or RefreshTokenReused when the session must be revoked."""
        if now_ns >= self.refresh_expires_ns or not _same(self.family_digest, _family(token)):
            raise SessionInvalid
        if not _same(self.refresh_digest, token) and not self._is_repeated(token, request_id, now_ns):
            raise RefreshTokenReused

    def _is_repeated(self, token: str, request_id: str, now_ns: int) -> bool:
        soon = now_ns - self.refreshed_ns < REPEAT_S * NS_PER_S
        return soon and _same(self.used_digest, token) and _same(self.request_digest, request_id)

    def rotated(
        self, refresh_token: str, request_id: str, randomness: Randomness, now_ns: int
    ) -> tuple[Session, Tokens]:
        """The session with its next pair of tokens."""
        tokens = _tokens(self.id, _family(refresh_token), randomness)
        fresh = replace(
            self,
            refreshed_ns=now_ns,
            access_digest=digest(tokens.access),
            refresh_digest=digest(tokens.refresh),
            used_digest=digest(refresh_token),
            request_digest=digest(request_id) if request_id else "",
        )
        return fresh, tokens


def open_session(
    *, session_id: SessionId, user_id: UserId, client: str, randomness: Randomness, now_ns: int
) -> tuple[Session, Tokens]:
    """A new session with its first pair of tokens."""
    family = randomness()
    tokens = _tokens(session_id, family, randomness)
    session = Session(
        id=session_id,
        user_id=user_id,
        client=client,
        created_ns=now_ns,
        refreshed_ns=now_ns,
        access_digest=digest(tokens.access),
        refresh_digest=digest(tokens.refresh),
        family_digest=digest(family),
    )
    return session, tokens


def session_of(token: str) -> SessionId:
    """The session that a token of either kind names. Raises SessionInvalid when it names none."""
    session_id = token.partition(".")[0]
    if not _SESSION_ID.fullmatch(session_id):
        raise SessionInvalid
    return SessionId(session_id)


def digest(secret: str) -> str:
    """SHA-256 in hex. Enough for secrets that are random and long."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _tokens(session_id: SessionId, family: str, randomness: Randomness) -> Tokens:
    return Tokens(
        access=f"{session_id}.{randomness()}",
        refresh=f"{session_id}.{family}.{randomness()}",
    )


def _family(refresh_token: str) -> str:
    parts = refresh_token.split(".")
    return parts[1] if len(parts) == 3 else ""


def _same(stored_digest: str, secret: str) -> bool:
    return hmac.compare_digest(stored_digest, digest(secret))
