"""A running identity service over real Valkey and SQLite, and wallets that sign."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from bsv.compat import bsm
from bsv.constants import Network as BsvNetwork
from bsv.keys import PrivateKey
from redis.asyncio import Redis
from satreel.identity.v1 import identity_pb2, identity_service_pb2, identity_service_pb2_grpc

from mesh.clock import Clock, ManualClock
from mesh.errors import RemoteFailure
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.records import Store, StoreUnavailable
from mesh.records.sqlite import open_sqlite
from mesh.testing import LoopbackServer, serving
from mesh.tls import make_user_token_keys
from mesh.tokens import UserTokenSigner, UserTokenVerifier
from services.identity.adapters.redis import RedisAttempts, RedisChallenges, RedisSessions
from services.identity.adapters.users import SETS, StoredUsers
from services.identity.adapters.wallets import BitcoinWallets, Network
from services.identity.app.parts import Parts, World
from services.identity.app.ports import Attempt, Users
from services.identity.rpc.convert import Converter
from services.identity.rpc.news import FeedNews
from services.identity.rpc.servicer import IdentityServicer

pb = identity_service_pb2
LOG_IN = identity_pb2.CHALLENGE_PURPOSE_LOG_IN
PAYOUT = identity_pb2.CHALLENGE_PURPOSE_PAYOUT_ADDRESS
PER_ADDRESS = {Attempt.CHALLENGE: 30, Attempt.LOG_IN: 10}
PER_CLIENT = {Attempt.CHALLENGE: 40, Attempt.LOG_IN: 20}


class Wallet:
    """A key of one person."""

    def __init__(self, network: BsvNetwork = BsvNetwork.TESTNET) -> None:
        self._key = PrivateKey()
        self.address = self._key.address(network=network)

    def sign(self, message: str) -> str:
        signature = bsm.sign(message.encode(), self._key)
        assert isinstance(signature, str)
        return signature


@dataclass
class Identity:
    """The service under test, and what stands behind it."""

    stub: identity_service_pb2_grpc.IdentityServiceStub
    server: LoopbackServer
    clock: ManualClock
    redis: Redis
    users: Users
    store: FlakyStore
    verifier: UserTokenVerifier

    async def challenge(
        self, address: str, purpose: int = LOG_IN, client: str = ""
    ) -> identity_pb2.Challenge:
        answer = await self.stub.CreateChallenge(
            pb.CreateChallengeRequest(
                address=address,
                purpose=identity_pb2.ChallengePurpose.ValueType(purpose),
                client_address=client or f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.1",
            )
        )
        return answer.challenge

    async def sessions(self, user_id: str) -> list[str]:
        """Ids of the open sessions of the user, newest first."""
        with self.server.user(user_id):
            answer = await self.stub.ListSessions(pb.ListSessionsRequest())
        return [session.id for session in answer.sessions]

    async def log_in(self, wallet: Wallet, client: str = "") -> identity_pb2.Session:
        challenge = await self.challenge(wallet.address)
        answer = await self.stub.LogIn(log_in_request(challenge, wallet, client))
        return answer.session


def log_in_request(challenge: identity_pb2.Challenge, wallet: Wallet, client: str = "") -> pb.LogInRequest:
    return pb.LogInRequest(
        challenge_id=challenge.id,
        address=wallet.address,
        signature=wallet.sign(challenge.message),
        client_address=f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.1",
        client=client,
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def admin() -> Wallet:
    return Wallet()


class FlakyStore:
    """A store that can be away: then nothing is changed, and every call says so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise StoreUnavailable
        return getattr(self._store, name)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FlakyStore]:
    async with open_sqlite(tmp_path / "identity.sqlite", SETS) as store:
        yield FlakyStore(store)


@dataclass(frozen=True)
class Composed:
    """The service without its server."""

    servicer: IdentityServicer
    users: Users
    redis: Redis


@asynccontextmanager
async def composed(
    store: Store,
    redis_url: str,
    clock: Clock,
    admins: frozenset[str],
    signer: UserTokenSigner,
    *,
    per_client: Mapping[Attempt, int] = PER_CLIENT,
) -> AsyncIterator[Composed]:
    """The service, without its server."""
    async with (
        Redis.from_url(redis_url, socket_timeout=60) as redis,
        open_feed(redis_url, f"identity-{uuid7()}") as feed,
    ):
        converter = Converter(admins)
        world = World(
            users=StoredUsers(store),
            sessions=RedisSessions(redis, clock),
            challenges=RedisChallenges(redis, clock),
            attempts=RedisAttempts(redis, clock, per_address=PER_ADDRESS, per_client=per_client),
            wallets=BitcoinWallets(Network.REGTEST),
            user_tokens=signer,
            news=FeedNews(feed, converter, clock, uuid7),
            clock=clock,
            new_id=uuid7,
            randomness=lambda: secrets.token_urlsafe(32),
        )
        parts = Parts(world, site="satreel.test", admin_addresses=admins)
        yield Composed(IdentityServicer(parts, feed, converter), world.users, redis)


@asynccontextmanager
async def run_identity(
    store: FlakyStore, redis_url: str, clock: ManualClock, admins: frozenset[str], keys: Path
) -> AsyncIterator[Identity]:
    """The service behind a server of its own."""
    private_key, public_key = make_user_token_keys(keys)
    verifier = UserTokenVerifier(public_key.read_bytes(), clock)
    signer = UserTokenSigner(private_key.read_bytes(), clock, 60)
    async with composed(cast("Store", store), redis_url, clock, admins, signer) as service:
        adder = identity_service_pb2_grpc.add_IdentityServiceServicer_to_server
        async with serving("identity", adder, service.servicer, clock=clock) as server:
            stub = identity_service_pb2_grpc.IdentityServiceStub(server.channel("gateway"))
            yield Identity(stub, server, clock, service.redis, service.users, store, verifier)


@pytest.fixture
async def identity(
    store: FlakyStore, valkey_url: str, clock: ManualClock, admin: Wallet, tmp_path: Path
) -> AsyncIterator[Identity]:
    admins = frozenset({admin.address})
    async with run_identity(store, valkey_url, clock, admins, tmp_path / "keys") as running:
        yield running


@asynccontextmanager
async def refused(reason: str) -> AsyncIterator[dict[str, str]]:
    """The block ends with this reason of identity's; gives its metadata afterwards."""
    metadata: dict[str, str] = {}
    with pytest.raises(RemoteFailure) as caught:
        yield metadata
    assert caught.value.reason == reason
    assert caught.value.domain in ("satreel.identity", "satreel.mesh", "")
    metadata.update(caught.value.metadata)
