"""Identity, ledger and chain as content calls them: real servers, with only the calls it makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.identity.v1 import identity_pb2, identity_service_pb2, identity_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from mesh import tls
from mesh.errors import Unavailable
from mesh.testing import serving


class Identity(identity_service_pb2_grpc.IdentityServiceServicer):
    def __init__(self, *users: str) -> None:
        self.users = set(users)

    async def BatchGetUsers(
        self, request: identity_service_pb2.BatchGetUsersRequest, context: Any
    ) -> identity_service_pb2.BatchGetUsersResponse:
        known = [identity_pb2.User(id=user_id) for user_id in request.user_ids if user_id in self.users]
        return identity_service_pb2.BatchGetUsersResponse(users=known)


class Ledger(ledger_service_pb2_grpc.LedgerServiceServicer):
    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.away = False

    async def IssueTitle(
        self, request: ledger_service_pb2.IssueTitleRequest, context: Any
    ) -> ledger_service_pb2.IssueTitleResponse:
        if self.away:
            raise Unavailable
        owner = self.owners.setdefault(request.meme_id, request.creator_id)
        title = ledger_pb2.Title(meme_id=request.meme_id, owner_id=owner)
        return ledger_service_pb2.IssueTitleResponse(title=title)


class Chain(chain_service_pb2_grpc.ChainServiceServicer):
    def __init__(self) -> None:
        self.inscribed: dict[str, chain_service_pb2.InscribeTitleRequest] = {}
        self.away = False

    async def InscribeTitle(
        self, request: chain_service_pb2.InscribeTitleRequest, context: Any
    ) -> chain_service_pb2.InscribeTitleResponse:
        if self.away:
            raise Unavailable
        assert self.inscribed.setdefault(request.meme_id, request) == request
        return chain_service_pb2.InscribeTitleResponse()


class Peers:
    """The three, and where they are."""

    def __init__(self, *users: str) -> None:
        # Abstract to the type checker: the calls that content does not make are left unimplemented.
        self.identity = Identity(*users)  # type: ignore[abstract]
        self.ledger = Ledger()  # type: ignore[abstract]
        self.chain = Chain()  # type: ignore[abstract]
        self.addresses: dict[str, str] = {}


@asynccontextmanager
async def running_peers(folder: Path, *users: str) -> AsyncIterator[Peers]:
    # Content passes the user's token on: all verify it with one key.
    _, user_token_key = tls.make_user_token_keys(folder)
    peers = Peers(*users)
    adders: dict[str, tuple[Any, Any]] = {
        "identity": (identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, peers.identity),
        "ledger": (ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server, peers.ledger),
        "chain": (chain_service_pb2_grpc.add_ChainServiceServicer_to_server, peers.chain),
    }
    async with AsyncExitStack() as stack:
        for name, (adder, servicer) in adders.items():
            server = await stack.enter_async_context(
                serving(name, adder, servicer, user_token_key=user_token_key)
            )
            peers.addresses[name] = server.address
        yield peers
