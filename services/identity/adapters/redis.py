"""Challenges, sessions and attempts in Redis. Losing it logs everyone out and harms nothing else.

Keys: identity:challenge:<id> (JSON), identity:used:<challenge id>, identity:session:<id> (hash),
identity:sessions:<user> (sorted set of the user's session ids by expiry),
identity:attempts:<what>:<whom>:<minute>. The scripts touch keys made from stored ids: one primary, not a
Redis Cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mesh.clock import NS_PER_S, Clock
from mesh.errors import Unavailable
from mesh.revocations import KEY as REVOCATIONS
from mesh.revocations import TELL
from services.identity.app.ports import Attempt
from services.identity.domain.challenges import Challenge, ChallengeId, Purpose
from services.identity.domain.failures import ChallengeUsed, TooManyAttempts
from services.identity.domain.sessions import REFRESH_LIFETIME_S, SESSIONS_PER_USER_MAX, Session, SessionId
from services.identity.domain.users import Address, UserId

_PREFIX = "identity"
_MS_PER_S = 1_000
_NS_PER_MS = 1_000_000
# The mark of a used challenge outlives the challenge, so that the challenge never seems unused.
_USED_EXTRA_MS = 60 * _MS_PER_S
_MINUTE_S = 60

# KEYS: used mark, session, index, revocations. ARGV: mark ms, session ms, expiry ms, now ms, id,
# most sessions, prefix, fields… Nothing undoes a script that fails half-way, so the mark of use comes last.
_OPEN = (
    TELL
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[4])
local ended = {}
while redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[6]) do
  local oldest = redis.call('ZPOPMIN', KEYS[3])[1]
  tell_revoked(KEYS[4], oldest)
  redis.call('DEL', ARGV[7] .. oldest)
  table.insert(ended, oldest)
end
redis.call('HSET', KEYS[2], unpack(ARGV, 8))
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[5])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[1])
return ended
"""
)
# KEYS: session, index. ARGV: refresh digest expected, session ms, expiry ms, id, fields…
_ROTATE = """
if redis.call('HGET', KEYS[1], 'refresh_digest') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""
# KEYS: session, index, revocations. ARGV: id. Told first: what cannot be told has not ended.
_REVOKE = (
    TELL
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then tell_revoked(KEYS[3], ARGV[1]) end
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])
"""
)


@asynccontextmanager
async def _reached() -> AsyncIterator[None]:
    """Says plainly that Redis is away, instead of how."""
    try:
        yield
    except (RedisError, OSError) as problem:
        raise Unavailable("log-in is not possible for the moment: the session store is away") from problem


class RedisChallenges:
    """`Challenges`."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    async def save(self, challenge: Challenge) -> None:
        """Keeps it until it expires."""
        async with _reached():
            await self._redis.set(
                _challenge_key(challenge.id),
                orjson.dumps(asdict(challenge)),
                px=_ms_left(challenge.expires_ns, self._clock),
            )

    async def find(self, challenge_id: ChallengeId) -> Challenge | None:
        """The challenge, unless it was used."""
        async with _reached():
            kept, used = await self._redis.mget(_challenge_key(challenge_id), _used_key(challenge_id))
        if used is not None:
            raise ChallengeUsed
        return None if kept is None else _challenge(orjson.loads(kept))


class RedisSessions:
    """`Sessions`."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._open = redis.register_script(_OPEN)
        self._rotate = redis.register_script(_ROTATE)
        self._revoke = redis.register_script(_REVOKE)

    async def open(self, session: Session, *, challenge: Challenge) -> list[SessionId]:
        """Uses the challenge up and opens the session, in one step."""
        keys = [_used_key(challenge.id), _session_key(session.id), _index_key(session.user_id), REVOCATIONS]
        arguments = [
            _ms_left(challenge.expires_ns, self._clock) + _USED_EXTRA_MS,
            REFRESH_LIFETIME_S * _MS_PER_S,
            session.refresh_expires_ns // _NS_PER_MS,
            self._clock.now_ns() // _NS_PER_MS,
            session.id,
            SESSIONS_PER_USER_MAX,
            _session_key(""),
            *_fields(session),
        ]
        async with _reached():
            ended = await self._open(keys=keys, args=arguments)
        if ended is None:
            raise ChallengeUsed
        return [SessionId(_text(session_id)) for session_id in ended]

    async def find(self, session_id: SessionId) -> Session | None:
        """A session."""
        async with _reached():
            kept = await self._redis.hgetall(_session_key(session_id))
        return _session(kept) if kept else None

    async def rotate(self, session: Session, *, refresh_digest: str) -> bool:
        """Replaces the session if its refresh token is still the one expected."""
        async with _reached():
            done = await self._rotate(
                keys=[_session_key(session.id), _index_key(session.user_id)],
                args=[
                    refresh_digest,
                    REFRESH_LIFETIME_S * _MS_PER_S,
                    session.refresh_expires_ns // _NS_PER_MS,
                    session.id,
                    *_fields(session),
                ],
            )
        return bool(done)

    async def revoke(self, session: Session) -> bool:
        """Ends it."""
        keys = [_session_key(session.id), _index_key(session.user_id), REVOCATIONS]
        async with _reached():
            return bool(await self._revoke(keys=keys, args=[session.id]))

    async def of_user(self, user_id: UserId) -> list[Session]:
        """The user's open sessions, newest first."""
        async with _reached():
            ids = await self._redis.zrange(_index_key(user_id), 0, SESSIONS_PER_USER_MAX - 1)
            async with self._redis.pipeline(transaction=False) as reads:
                for session_id in ids:
                    reads.hgetall(_session_key(_text(session_id)))
                found = await reads.execute()
        return sorted((_session(kept) for kept in found if kept), key=_age, reverse=True)


class RedisAttempts:
    """`Attempts`: counters per minute, for an address as tried from one place, and for the place alone.

    The address is counted together with the place, so that nobody can lock an owner out from elsewhere.
    """

    def __init__(
        self,
        redis: Redis,
        clock: Clock,
        *,
        per_address: Mapping[Attempt, int],
        per_client: Mapping[Attempt, int],
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._per_address = per_address
        self._per_client = per_client

    async def count(self, attempt: Attempt, *, address: str, client_address: str) -> None:
        """Counts one."""
        now_s = self._clock.now_ns() // NS_PER_S
        minute, passed_s = divmod(now_s, _MINUTE_S)
        limits = {f"{address}@{client_address}": self._per_address[attempt]}
        if client_address:
            limits[f"@{client_address}"] = self._per_client[attempt]
        async with _reached(), self._redis.pipeline(transaction=True) as counters:
            for whom in limits:
                key = f"{_PREFIX}:attempts:{attempt}:{whom}:{minute}"
                counters.incr(key)
                counters.expire(key, 2 * _MINUTE_S)
            counts = (await counters.execute())[::2]
        if any(count > limit for count, limit in zip(counts, limits.values(), strict=True)):
            raise TooManyAttempts(retry_after_s=_MINUTE_S - passed_s)


def _challenge_key(challenge_id: str) -> str:
    return f"{_PREFIX}:challenge:{challenge_id}"


def _used_key(challenge_id: str) -> str:
    return f"{_PREFIX}:used:{challenge_id}"


def _session_key(session_id: str) -> str:
    return f"{_PREFIX}:session:{session_id}"


def _index_key(user_id: str) -> str:
    return f"{_PREFIX}:sessions:{user_id}"


def _ms_left(expires_ns: int, clock: Clock) -> int:
    return max(1, (expires_ns - clock.now_ns()) // _NS_PER_MS)


def _challenge(kept: dict[str, Any]) -> Challenge:
    return Challenge(
        id=ChallengeId(kept["id"]),
        site=kept["site"],
        address=Address(kept["address"]),
        purpose=Purpose(kept["purpose"]),
        user_id=None if kept["user_id"] is None else UserId(kept["user_id"]),
        nonce=kept["nonce"],
        issued_ns=kept["issued_ns"],
        expires_ns=kept["expires_ns"],
    )


def _fields(session: Session) -> list[str | int]:
    return [part for pair in asdict(session).items() for part in pair]


def _text(answer: object) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _session(kept: Mapping[bytes | str, bytes | str]) -> Session:
    text = {_text(name): _text(value) for name, value in kept.items()}
    return Session(
        id=SessionId(text["id"]),
        user_id=UserId(text["user_id"]),
        client=text["client"],
        created_ns=int(text["created_ns"]),
        refreshed_ns=int(text["refreshed_ns"]),
        access_digest=text["access_digest"],
        refresh_digest=text["refresh_digest"],
        family_digest=text["family_digest"],
        used_digest=text.get("used_digest", ""),
        request_digest=text.get("request_digest", ""),
    )


def _age(session: Session) -> tuple[int, str]:
    return session.created_ns, session.id
