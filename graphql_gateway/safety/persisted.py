"""Automatic persisted queries in Redis: known to all gateways, for a time and up to a number."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from redis.asyncio import Redis

from graphql_gateway.safety.documents import hash_of
from mesh import logs
from mesh.feeds.stream import AWAY

log = logs.logger(__name__)

REDIS_S = 0.25
# One hash tag: index and documents are in one slot of a cluster.
_PREFIX = "satreel:{documents}:"
_INDEX = _PREFIX + "index"

# KEYS: index, document. ARGV: hash, text, seconds, most, now, prefix.
_PUT = """
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[5], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local over = redis.call('ZCARD', KEYS[1]) - ARGV[4]
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[1], over)
  for i = 1, #oldest, 2 do redis.call('DEL', ARGV[6] .. oldest[i]) end
end
"""


class RedisStore:
    """The oldest make room. While Redis is away there is nothing: clients send their documents."""

    def __init__(self, redis: Redis, *, kept_s: int, kept_max: int) -> None:
        self._redis = redis
        self._put = redis.register_script(_PUT)
        self._kept_s = kept_s
        self._kept_max = kept_max

    async def get(self, sha256: str) -> str | None:
        """Who is asked for stays longer."""
        try:
            async with asyncio.timeout(REDIS_S):
                found = cast("bytes | None", await self._redis.getex(_PREFIX + sha256, ex=self._kept_s))
        except AWAY as problem:
            log.warning("a persisted query could not be read", problem=repr(problem))
            return None
        text = None if found is None else found.decode(errors="surrogatepass")
        return text if text is not None and hash_of(text) == sha256 else None

    async def put(self, sha256: str, text: str) -> None:
        """One round trip."""
        arguments: list[str | bytes | int | float] = [
            sha256,
            text.encode(errors="surrogatepass"),
            self._kept_s,
            self._kept_max,
            time.time(),
            _PREFIX,
        ]
        try:
            async with asyncio.timeout(REDIS_S):
                await self._put(keys=[_INDEX, _PREFIX + sha256], args=arguments)
        except AWAY as problem:
            log.warning("a persisted query could not be kept", problem=repr(problem))
