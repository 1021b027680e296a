"""Domain values as messages of the contract, and back."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.identity.v1 import identity_pb2

from services.identity.domain.challenges import Challenge, Purpose
from services.identity.domain.sessions import Session, Tokens
from services.identity.domain.users import Role, User, roles_of

PURPOSES = {
    identity_pb2.CHALLENGE_PURPOSE_LOG_IN: Purpose.LOG_IN,
    identity_pb2.CHALLENGE_PURPOSE_PAYOUT_ADDRESS: Purpose.PAYOUT_ADDRESS,
}
_ROLES = {Role.USER: identity_pb2.ROLE_USER, Role.ADMIN: identity_pb2.ROLE_ADMIN}


def timestamp(ns: int) -> Timestamp:
    """An instant in nanoseconds since 1970."""
    message = Timestamp()
    message.FromNanoseconds(ns)
    return message


class Converter:
    """Makes messages. Roles are added here: they follow from the operator's list, not from the record."""

    def __init__(self, admin_addresses: frozenset[str]) -> None:
        self._admin_addresses = admin_addresses

    def user(self, user: User) -> identity_pb2.User:
        """A user."""
        return identity_pb2.User(
            id=user.id,
            address=user.address,
            display_name=user.display_name,
            roles=sorted(_ROLES[role] for role in roles_of(user, self._admin_addresses)),
            payout_address=user.payout_address,
            auto_payout=user.auto_payout,
            created_at=timestamp(user.created_ns),
        )

    def session(self, user: User, session: Session, tokens: Tokens) -> identity_pb2.Session:
        """A session with its secrets."""
        return identity_pb2.Session(
            id=session.id,
            access_token=tokens.access,
            refresh_token=tokens.refresh,
            access_expires_at=timestamp(session.access_expires_ns),
            refresh_expires_at=timestamp(session.refresh_expires_ns),
            user=self.user(user),
        )


def session_info(session: Session) -> identity_pb2.SessionInfo:
    """A session without its secrets."""
    return identity_pb2.SessionInfo(
        id=session.id,
        created_at=timestamp(session.created_ns),
        refreshed_at=timestamp(session.refreshed_ns),
        client=session.client,
    )


def challenge(challenge: Challenge) -> identity_pb2.Challenge:
    """A text to sign."""
    return identity_pb2.Challenge(
        id=challenge.id, message=challenge.message, expires_at=timestamp(challenge.expires_ns)
    )
