"""Sessions after log-in: authenticate, refresh, revoke."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mesh.clock import Clock
from services.identity.app.ports import News, Sessions, Users, UserTokens
from services.identity.domain.failures import NotYours, RefreshTokenReused, SessionInvalid
from services.identity.domain.sessions import Randomness, Session, SessionId, Tokens, session_of
from services.identity.domain.users import User, UserId, roles_of


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who holds an access token. `user_token` is a secret, hidden from logs."""

    user: User
    session: Session
    user_token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedIn({self.user.id})"


class OpenSessions:
    """Uses and ends sessions."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        users: Users,
        user_tokens: UserTokens,
        news: News,
        clock: Clock,
        randomness: Randomness,
        admin_addresses: frozenset[str],
    ) -> None:
        self._sessions = sessions
        self._users = users
        self._user_tokens = user_tokens
        self._news = news
        self._clock = clock
        self._randomness = randomness
        self._admin_addresses = admin_addresses

    async def authenticate(self, access_token: str) -> SignedIn:
        """Who holds the token, with a signed token for other services. Raises SessionInvalid."""
        # The session may end while the rest is read: the token must not say that it went on later.
        as_of_ns = self._clock.now_ns()
        session = await self._found(access_token)
        session.check_access(access_token, self._clock.now_ns())
        user = await self._user(session.user_id)
        token, expires_at = self._user_tokens.sign(
            user_id=user.id,
            roles=frozenset(roles_of(user, self._admin_addresses)),
            session_id=session.id,
            as_of_ns=as_of_ns,
        )
        return SignedIn(user, session, token, expires_at)

    async def refresh(self, refresh_token: str, request_id: str) -> tuple[User, Session, Tokens]:
        """The next pair of tokens; `request_id` is what the client calls this request, "" for nothing.

        Raises SessionInvalid; RefreshTokenReused, with the session revoked.
        """
        while True:
            session, now_ns = await self._found(refresh_token), self._clock.now_ns()
            try:
                session.check_refresh(refresh_token, request_id, now_ns)
            except RefreshTokenReused:
                await self._end(session)
                raise
            user = await self._user(session.user_id)
            fresh, tokens = session.rotated(refresh_token, request_id, self._randomness, now_ns)
            if await self._sessions.rotate(fresh, refresh_digest=session.refresh_digest):
                return user, fresh, tokens
            # Somebody used the token in between, or ended the session: see what it was.

    async def revoke(self, user_id: UserId, session_id: SessionId | None) -> int:
        """Ends one session of the user, or all; returns how many. Raises NotYours."""
        if session_id is None:
            ended = [await self._end(session) for session in await self._sessions.of_user(user_id)]
            return sum(ended)
        session = await self._sessions.find(session_id)
        if session is None:
            return 0
        if session.user_id != user_id:
            raise NotYours
        return int(await self._end(session))

    async def list(self, user_id: UserId) -> list[Session]:
        """The user's open sessions, newest first."""
        return await self._sessions.of_user(user_id)

    async def _found(self, token: str) -> Session:
        session = await self._sessions.find(session_of(token))
        if session is None:
            raise SessionInvalid
        return session

    async def _user(self, user_id: UserId) -> User:
        user = await self._users.get(user_id)
        if user is None:
            raise SessionInvalid
        return user

    async def _end(self, session: Session) -> bool:
        ended = await self._sessions.revoke(session)
        if ended:
            self._news.session_revoked(session.user_id, session.id)
        return ended
