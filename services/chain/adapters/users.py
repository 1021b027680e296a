"""Identity, as chain sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from satreel.identity.v1 import identity_service_pb2, identity_service_pb2_grpc

from services.chain.domain.values import UserId


class IdentityUsers:
    """`Users` over the mesh."""

    def __init__(self, stub: identity_service_pb2_grpc.IdentityServiceStub) -> None:
        self._stub = stub

    async def payout_addresses(self, user_ids: Sequence[UserId]) -> Mapping[UserId, str]:
        """Standing payout addresses of users who want to be paid by themselves."""
        if not user_ids:
            return {}
        request = identity_service_pb2.BatchGetUsersRequest(user_ids=user_ids)
        response = await self._stub.BatchGetUsers(request)
        return {
            UserId(user.id): user.payout_address
            for user in response.users
            if user.auto_payout and user.payout_address
        }
