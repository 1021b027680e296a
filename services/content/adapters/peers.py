"""Identity, ledger and chain, as content needs them."""

from __future__ import annotations

from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2, identity_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from services.content.domain.memes import Meme
from services.content.domain.values import Sha256, UserId

POSTER_MIME = "image/jpeg"


class GrpcCreators:
    """The port `Creators`."""

    def __init__(self, stub: identity_service_pb2_grpc.IdentityServiceStub) -> None:
        self._stub = stub

    async def exists(self, user_id: UserId) -> bool:
        """Whether identity knows the user."""
        answer = await self._stub.BatchGetUsers(identity_service_pb2.BatchGetUsersRequest(user_ids=[user_id]))
        return any(user.id == user_id for user in answer.users)


class GrpcTitles:
    """The port `Titles`."""

    def __init__(
        self,
        ledger: ledger_service_pb2_grpc.LedgerServiceStub,
        chain: chain_service_pb2_grpc.ChainServiceStub,
    ) -> None:
        self._ledger = ledger
        self._chain = chain

    async def issue(self, meme: Meme) -> None:
        """Makes the creator the first owner in the ledger."""
        await self._ledger.IssueTitle(
            ledger_service_pb2.IssueTitleRequest(meme_id=meme.id, creator_id=meme.creator_id)
        )

    async def inscribe(self, meme: Meme, film: Sha256, poster: bytes) -> None:
        """Has the title written on chain."""
        await self._chain.InscribeTitle(
            chain_service_pb2.InscribeTitleRequest(
                meme_id=meme.id,
                creator_id=meme.creator_id,
                name=meme.name,
                poster_mime=POSTER_MIME,
                poster=poster,
                film_sha256=film,
            )
        )
