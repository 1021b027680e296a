"""A simple identity service."""

from __future__ import annotations

from typing import Any

from satreel.identity.v1 import identity_pb2, identity_service_pb2, identity_service_pb2_grpc

from mesh import caller
from mesh.caller import ADMIN
from mesh.errors import Code, Failure
from mesh.ids import uuid7
from mesh.tokens import UserTokenSigner
from tests.gateway.fakes.base import AT, Log, found


class SessionInvalid(Failure):
    """The session does not exist, has expired or was revoked."""

    code = Code.UNAUTHENTICATED
    reason = "SESSION_INVALID"


def session_of(user: identity_pb2.User) -> str:
    """The id of a user's session."""
    return f"session-{user.id}"


class FakeIdentity(identity_service_pb2_grpc.IdentityServiceServicer):
    def __init__(self, log: Log, signer: UserTokenSigner) -> None:
        self.log, self.signer = log, signer
        self.users: dict[str, identity_pb2.User] = {}
        self.sessions: dict[str, str] = {}

    async def Authenticate(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.access_token not in self.sessions:
            raise SessionInvalid
        user = self.users[self.sessions[request.access_token]]
        roles = frozenset({ADMIN} if identity_pb2.ROLE_ADMIN in user.roles else ())
        token, _ = self.signer.sign(user_id=user.id, roles=roles, session_id=session_of(user))
        return identity_service_pb2.AuthenticateResponse(
            user=user, session_id=session_of(user), user_token=token
        )

    async def BatchGetUsers(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return identity_service_pb2.BatchGetUsersResponse(users=found(self.users, request.user_ids))

    async def CreateChallenge(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        challenge = identity_pb2.Challenge(id=uuid7(), message=f"{request.address} signs", expires_at=AT)
        return identity_service_pb2.CreateChallengeResponse(challenge=challenge)

    async def SetDisplayName(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        user = self.users[caller.current().require_user()]
        user.display_name = request.display_name
        return identity_service_pb2.SetDisplayNameResponse(user=user)
