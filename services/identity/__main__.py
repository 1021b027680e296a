"""Starts identity. Reads as a recipe."""

from __future__ import annotations

import secrets
from pathlib import Path

from satreel.identity.v1 import identity_service_pb2_grpc

from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.records import open_store
from mesh.runtime import Runtime, run
from mesh.tokens import UserTokenSigner
from services.identity.adapters.redis import RedisAttempts, RedisChallenges, RedisSessions
from services.identity.adapters.users import SETS, StoredUsers
from services.identity.adapters.wallets import BitcoinWallets, Network
from services.identity.app.log_in import LogIn, Proofs
from services.identity.app.ports import Attempt
from services.identity.app.profiles import Profiles
from services.identity.app.sessions import OpenSessions
from services.identity.config import IdentitySettings
from services.identity.rpc.convert import Converter
from services.identity.rpc.news import FEED, FeedNews
from services.identity.rpc.servicer import IdentityServicer

SECRET_BYTES = 32


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


async def main(settings: IdentitySettings) -> None:
    """Composes the service and serves until stopped."""
    signing_key = token_key(settings).read_bytes()
    async with Runtime(settings) as runtime:
        clock, redis = runtime.clock, runtime.redis
        store = await runtime.enter(open_store(settings, SETS))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED))
        converter = Converter(settings.admin_addresses)
        users = StoredUsers(store)
        sessions = RedisSessions(redis, clock)
        news = FeedNews(feed, converter, clock, uuid7)
        proofs = Proofs(
            challenges=RedisChallenges(redis, clock),
            wallets=BitcoinWallets(Network(settings.network)),
            attempts=RedisAttempts(
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
            ),
            clock=clock,
            new_id=uuid7,
            randomness=new_secret,
            site=settings.site,
        )
        servicer = IdentityServicer(
            proofs=proofs,
            log_in=LogIn(
                proofs=proofs,
                users=users,
                sessions=sessions,
                news=news,
                clock=clock,
                new_id=uuid7,
                randomness=new_secret,
            ),
            sessions=OpenSessions(
                sessions=sessions,
                users=users,
                user_tokens=UserTokenSigner(signing_key, clock, settings.token_lifetime_s),
                news=news,
                clock=clock,
                randomness=new_secret,
                admin_addresses=settings.admin_addresses,
            ),
            profiles=Profiles(users=users, proofs=proofs, news=news, clock=clock),
            feed=feed,
            converter=converter,
        )
        await runtime.add(identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, servicer)
        await runtime.serve()


if __name__ == "__main__":
    run(IdentitySettings, main)
