"""Identity's calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.identity.v1 import identity_service_pb2 as pb
from satreel.identity.v1 import identity_service_pb2_grpc

from mesh import caller
from mesh.feeds import Feed, responses
from mesh.interceptors.guards import CLIENT_ADDRESS_KEY
from services.identity.app.parts import Parts
from services.identity.domain.challenges import ChallengeId
from services.identity.domain.sessions import SessionId
from services.identity.domain.users import UserId
from services.identity.rpc import convert, news
from services.identity.rpc.convert import Converter

GATEWAY = "gateway"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """IdentityService."""

    def __init__(self, parts: Parts, feed: Feed, converter: Converter) -> None:
        self._parts = parts
        self._feed = feed
        self._convert = converter

    async def CreateChallenge(
        self, request: pb.CreateChallengeRequest, context: Context
    ) -> pb.CreateChallengeResponse:
        user_id = caller.current().user_id
        challenge = await self._parts.proofs.challenge(
            address=request.address,
            purpose=convert.PURPOSES[request.purpose],
            user_id=None if user_id is None else UserId(user_id),
            client_address=_client_address(request.client_address, context),
        )
        return pb.CreateChallengeResponse(challenge=convert.challenge(challenge))

    async def LogIn(self, request: pb.LogInRequest, context: Context) -> pb.LogInResponse:
        user, session, tokens = await self._parts.log_in(
            challenge_id=ChallengeId(request.challenge_id),
            address=request.address,
            signature=request.signature,
            client_address=_client_address(request.client_address, context),
            client=request.client,
        )
        return pb.LogInResponse(session=self._convert.session(user, session, tokens))

    async def RefreshSession(
        self, request: pb.RefreshSessionRequest, _: Context
    ) -> pb.RefreshSessionResponse:
        user, session, tokens = await self._parts.sessions.refresh(request.refresh_token, request.request_id)
        return pb.RefreshSessionResponse(session=self._convert.session(user, session, tokens))

    async def RevokeSession(self, request: pb.RevokeSessionRequest, _: Context) -> pb.RevokeSessionResponse:
        session_id = SessionId(request.session_id) if request.session_id else None
        return pb.RevokeSessionResponse(revoked=await self._parts.sessions.revoke(_user_id(), session_id))

    async def ListSessions(self, __: pb.ListSessionsRequest, _: Context) -> pb.ListSessionsResponse:
        sessions = await self._parts.sessions.list(_user_id())
        return pb.ListSessionsResponse(sessions=[convert.session_info(session) for session in sessions])

    async def Authenticate(self, request: pb.AuthenticateRequest, _: Context) -> pb.AuthenticateResponse:
        signed_in = await self._parts.sessions.authenticate(request.access_token)
        expires_at = Timestamp()
        expires_at.FromDatetime(signed_in.expires_at)
        return pb.AuthenticateResponse(
            user=self._convert.user(signed_in.user),
            session_id=signed_in.session.id,
            user_token=signed_in.user_token,
            expires_at=expires_at,
            access_expires_at=convert.timestamp(signed_in.session.access_expires_ns),
        )

    async def GetUser(self, request: pb.GetUserRequest, _: Context) -> pb.GetUserResponse:
        user = await self._parts.profiles.get(UserId(request.user_id))
        return pb.GetUserResponse(user=self._convert.user(user))

    async def BatchGetUsers(self, request: pb.BatchGetUsersRequest, _: Context) -> pb.BatchGetUsersResponse:
        users = await self._parts.profiles.get_many([UserId(user_id) for user_id in request.user_ids])
        return pb.BatchGetUsersResponse(users=[self._convert.user(user) for user in users])

    async def SetDisplayName(
        self, request: pb.SetDisplayNameRequest, _: Context
    ) -> pb.SetDisplayNameResponse:
        user = await self._parts.profiles.set_display_name(_user_id(), request.display_name)
        return pb.SetDisplayNameResponse(user=self._convert.user(user))

    async def SetPayoutAddress(
        self, request: pb.SetPayoutAddressRequest, _: Context
    ) -> pb.SetPayoutAddressResponse:
        user = await self._parts.profiles.set_payout_address(
            _user_id(),
            challenge_id=ChallengeId(request.challenge_id),
            address=request.address,
            signature=request.signature,
            auto_payout=request.auto_payout,
        )
        return pb.SetPayoutAddressResponse(user=self._convert.user(user))

    async def WatchIdentity(
        self, request: pb.WatchIdentityRequest, _: Context
    ) -> AsyncIterator[pb.WatchIdentityResponse]:
        told = responses(self._feed, request.cursor, pb.WatchIdentityResponse, snapshot=news.snapshot)
        async with aclosing(told):
            async for response in told:
                yield response


def _client_address(said: str, context: Context) -> str:
    """Where the client calls from: the gateway says it in its request; for others the edge does."""
    if caller.current().service == GATEWAY:
        return said
    found = dict(context.invocation_metadata() or ()).get(CLIENT_ADDRESS_KEY, "")
    return str(found)


def _user_id() -> UserId:
    return UserId(caller.current().require_user())
