"""One feed as it lies in Redis: a stream whose entries are numbered without gaps, and the epoch of its birth.

`satreel:feed:{<name>}` is the stream, `satreel:feed:{<name>}:meta` a hash of its epoch (random text) and the
number of its last entry, n. Entry n has the stream id `n-0`. A reader that misses a number knows that
something was lost; a server that came back empty gives birth to another epoch.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

# Entries kept for watchers that come back; trimming is approximate, by whole nodes of the stream.
LENGTH_MAX = 10_000
# Of events as large as the newest one, so many bytes are kept at most: Redis has its memory for others, too.
KEPT_BYTES_MAX = 100_000_000
TIMEOUT_S = 3.0
# Redis answers a read without news after this long; stays below TIMEOUT_S.
BLOCK_MS = 1_000
PAGE_MAX = 100

# A lost reply and a lost server look like this.
AWAY = (RedisError, OSError, TimeoutError)

# Numbers start at the milliseconds of birth: a new epoch begins behind the old, so blocked readers see it.
_BORN = """
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  local time = redis.call('TIME')
  epoch = ARGV[1]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch,
    'n', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
end
"""
_POSITION = _BORN + "return {epoch, redis.call('HGET', KEYS[1], 'n')}"
# ARGV: epoch if it is to be born, numbers to leave out, then topic, payload and length to keep of each event.
_APPEND = (
    _BORN
    + """
redis.call('HINCRBY', KEYS[1], 'n', ARGV[2])
for i = 3, #ARGV, 3 do
  local id = string.format('%.0f-0', redis.call('HINCRBY', KEYS[1], 'n', 1))
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[i + 2], id, 't', ARGV[i], 'p', ARGV[i + 1])
end
"""
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event in the stream; `topic` is "" when it has none."""

    number: int
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a feed; as text, `<epoch>.<number of the last entry before it>`."""

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.number}"


class Stream:
    """The commands a feed needs. They raise one of AWAY when Redis cannot be reached or refuses."""

    def __init__(self, redis: Redis, name: str, length_max: int) -> None:
        self._redis = redis
        self._key = f"satreel:feed:{{{name}}}"
        self._keys = [f"{self._key}:meta", self._key]
        self._length_max = length_max
        self._position = redis.register_script(_POSITION)
        self._append = redis.register_script(_APPEND)

    async def position(self) -> Position:
        """Where the feed ends now; makes it, if need be."""
        epoch, number = cast(
            "list[bytes]", await self._position(keys=self._keys, args=[secrets.token_hex(6)])
        )
        return Position(epoch.decode(), int(number))

    async def append(self, events: Sequence[tuple[str, bytes]], *, after_loss: bool) -> None:
        """Adds events, each a topic and a payload. `after_loss` leaves a number out: readers start anew."""
        arguments: list[str | bytes | int] = [secrets.token_hex(6), int(after_loss)]
        for topic, payload in events:
            length = min(self._length_max, KEPT_BYTES_MAX // max(1, len(payload)))
            arguments += (topic, payload, length)
        async with asyncio.timeout(TIMEOUT_S):
            await self._append(keys=self._keys, args=arguments)

    async def read(self, after: int) -> list[Entry]:
        """The next entries, as soon as there are any; none after BLOCK_MS."""
        async with asyncio.timeout(TIMEOUT_S):
            found = await self._redis.xread({self._key: f"{after}-0"}, count=PAGE_MAX, block=BLOCK_MS)
        streams = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", found)
        return [_entry(number, fields) for _, entries in streams for number, fields in entries]

    async def between(self, after: int, last: int) -> list[Entry]:
        """At most PAGE_MAX entries behind `after`, up to `last`."""
        async with asyncio.timeout(TIMEOUT_S):
            found = await self._redis.xrange(self._key, f"({after}-0", f"{last}-0", count=PAGE_MAX)
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", found)
        return [_entry(number, fields) for number, fields in entries]


@asynccontextmanager
async def open_stream(redis_url: str, name: str, length_max: int) -> AsyncIterator[Stream]:
    """The stream of a feed, over a client of its own."""
    async with aclosing(client_of(redis_url)) as redis:
        yield Stream(redis, name, length_max)


def client_of(redis_url: str) -> Redis:
    """A client for reads that wait; nothing is connected before the first command.

    No command is sent twice by the client itself: repeating an append would double its events.
    """
    return Redis.from_url(
        redis_url,
        # Its own time limit is asyncio.wait_for, which on Python 3.11 can swallow a cancellation.
        socket_timeout=None,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


def _entry(number: bytes, fields: dict[bytes, bytes]) -> Entry:
    return Entry(int(number.partition(b"-")[0]), fields[b"t"].decode(), fields[b"p"])
