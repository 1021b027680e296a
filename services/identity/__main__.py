"""Starts identity. Reads as a recipe."""

from __future__ import annotations

import secrets
from pathlib import Path

from redis.asyncio import Redis
from satreel.identity.v1 import identity_service_pb2_grpc

from mesh.clock import Clock
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.records import Store, open_store
from mesh.runtime import Runtime, run
from mesh.tokens import UserTokenSigner
from services.identity.adapters.redis import RedisAttempts, RedisChallenges, RedisSessions
from services.identity.adapters.users import SETS, StoredUsers
from services.identity.adapters.wallets import BitcoinWallets, Network
from services.identity.app.parts import Parts, World
from services.identity.app.ports import Attempt
from services.identity.config import IdentitySettings
from services.identity.rpc.convert import Converter
from services.identity.rpc.news import FEED, FeedNews
from services.identity.rpc.servicer import IdentityServicer

SECRET_BYTES = 32


async def main(settings: IdentitySettings) -> None:
    """Composes the service and serves until stopped."""
    signing_key = token_key(settings).read_bytes()
    async with Runtime(settings) as runtime:
        store = await runtime.enter(open_store(settings, SETS))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED))
        converter = Converter(settings.admin_addresses)
        news = FeedNews(feed, converter, runtime.clock, uuid7)
        signer = UserTokenSigner(signing_key, runtime.clock, settings.token_lifetime_s)
        parts = Parts(
            world_of(runtime, settings, store, news, signer),
            site=settings.site,
            admin_addresses=settings.admin_addresses,
        )
        await runtime.add(
            identity_service_pb2_grpc.add_IdentityServiceServicer_to_server,
            IdentityServicer(parts, feed, converter),
        )
        await runtime.serve()


def world_of(
    runtime: Runtime, settings: IdentitySettings, store: Store, news: FeedNews, signer: UserTokenSigner
) -> World:
    """What identity stands on, as this process reaches it."""
    clock, redis = runtime.clock, runtime.redis
    return World(
        users=StoredUsers(store),
        sessions=RedisSessions(redis, clock),
        challenges=RedisChallenges(redis, clock),
        attempts=attempts_of(settings, redis, clock),
        wallets=BitcoinWallets(Network(settings.network)),
        user_tokens=signer,
        news=news,
        clock=clock,
        new_id=uuid7,
        randomness=new_secret,
    )


def attempts_of(settings: IdentitySettings, redis: Redis, clock: Clock) -> RedisAttempts:
    """How often what may be tried."""
    return RedisAttempts(
        redis,
        clock,
        per_address={
            Attempt.CHALLENGE: settings.challenges_per_address,
            Attempt.LOG_IN: settings.log_ins_per_address,
        },
        per_client={
            Attempt.CHALLENGE: settings.challenges_per_client,
            Attempt.LOG_IN: settings.log_ins_per_client,
        },
    )


def new_secret() -> str:
    """256 random bits as URL-safe text."""
    return secrets.token_urlsafe(SECRET_BYTES)


def token_key(settings: IdentitySettings) -> Path:
    """Where the key for user tokens is. Raises SystemExit when no setting says it."""
    if settings.token_key is not None:
        return settings.token_key
    if settings.user_token_key is not None:
        return settings.user_token_key.with_name("user-token.key")
    raise SystemExit("identity signs user tokens: set SATREEL_IDENTITY_TOKEN_KEY or SATREEL_USER_TOKEN_KEY")


if __name__ == "__main__":
    run(IdentitySettings, main)
