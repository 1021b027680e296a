"""News of identity: published as the contract's events, and served to those who watch."""

from __future__ import annotations

from collections.abc import Callable

from satreel.identity.v1 import identity_service_pb2

from mesh.clock import Clock
from mesh.feeds import Feed
from services.identity.domain.sessions import Session, SessionId
from services.identity.domain.users import User, UserId
from services.identity.rpc.convert import Converter, timestamp

FEED = "identity"

_Event = identity_service_pb2.IdentityEvent


class FeedNews:
    """`News` over a feed of the mesh."""

    def __init__(self, feed: Feed, convert: Converter, clock: Clock, new_id: Callable[[], str]) -> None:
        self._feed = feed
        self._convert = convert
        self._clock = clock
        self._new_id = new_id

    def user_created(self, user: User) -> None:
        """A first log-in."""
        created = identity_service_pb2.UserCreated(user=self._convert.user(user))
        self._publish(_Event(user_created=created))

    def logged_in(self, session: Session) -> None:
        """A log-in."""
        logged_in = identity_service_pb2.LoggedIn(user_id=session.user_id, session_id=session.id)
        self._publish(_Event(logged_in=logged_in))

    def session_revoked(self, user_id: UserId, session_id: SessionId) -> None:
        """A session ended before its time."""
        revoked = identity_service_pb2.SessionRevoked(user_id=user_id, session_id=session_id)
        self._publish(_Event(session_revoked=revoked))

    def user_changed(self, user: User) -> None:
        """A profile changed."""
        changed = identity_service_pb2.UserChanged(user=self._convert.user(user))
        self._publish(_Event(user_changed=changed))

    def _publish(self, event: identity_service_pb2.IdentityEvent) -> None:
        event.id = self._new_id()
        event.at.CopyFrom(timestamp(self._clock.now_ns()))
        self._feed.publish(event.SerializeToString())


async def snapshot() -> identity_service_pb2.IdentitySnapshot:
    """Who watches asks for the rest."""
    return identity_service_pb2.IdentitySnapshot()
