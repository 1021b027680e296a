"""Ended sessions are out within five seconds, whatever becomes of Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from mesh.clock import ManualClock
from mesh.ids import uuid7
from mesh.revocations import (
    FRESH_S,
    KEPT_S,
    KEY,
    PAGE_MAX,
    TELL,
    Revocations,
    RevocationsUnknown,
    SessionEnded,
)
from mesh.tls import make_user_token_keys
from mesh.tokens import UserTokenSigner, UserTokenVerifier
from tests.conftest import ValkeyServer

WAIT_S = 120.0


class Service:
    """A process that hears, and identity that tells."""

    def __init__(self, url: str, keys: Path) -> None:
        self.clock = ManualClock()
        self.revocations = Revocations(url, self.clock)
        private_key, public_key = make_user_token_keys(keys)
        self._signer = UserTokenSigner(private_key.read_bytes(), self.clock, lifetime_s=60)
        self._verifier = UserTokenVerifier(public_key.read_bytes(), self.clock, self.revocations)
        self._url = url
        self._tokens: dict[str, str] = {}

    def sign_in(self, session_id: str) -> None:
        self._tokens[session_id] = self._signer.sign(user_id="u", roles=frozenset(), session_id=session_id)[0]

    def accepts(self, session_id: str) -> bool:
        try:
            return self._verifier.verify(self._tokens[session_id]).session_id == session_id
        except SessionEnded:
            return False

    async def end(self, *session_ids: str) -> None:
        async with Redis.from_url(self._url) as redis:
            script = redis.register_script(
                TELL + "for _, id in ipairs(ARGV) do tell_revoked(KEYS[1], id) end"
            )
            await script(keys=[KEY], args=list(session_ids))

    async def kept(self) -> int:
        async with Redis.from_url(self._url) as redis:
            return int(await redis.xlen(KEY))


@asynccontextmanager
async def listening(service: Service) -> AsyncIterator[None]:
    task = asyncio.create_task(service.revocations.run())
    try:
        await until(lambda: service.revocations.are_known)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not ready():
            await asyncio.sleep(0.005)


@pytest.fixture
def service(own_valkey: ValkeyServer, tmp_path: Path) -> Service:
    return Service(own_valkey.url, tmp_path / "keys")


async def test_an_ended_session_is_out_and_no_other(service: Service) -> None:
    told: list[str] = []
    service.revocations.on_ended = told.extend
    for session_id in ("a", "b"):
        service.sign_in(session_id)
    async with listening(service):
        assert service.accepts("a")
        await service.end("a")
        await until(lambda: not service.accepts("a"))
        await service.end("a")
        await service.end("c")
        await until(lambda: service.revocations.has_ended("c"))
        assert service.accepts("b")
        assert told == ["a", "c"]


async def test_what_ended_before_the_start_is_heard_first(service: Service) -> None:
    many = [f"{uuid7()}" for _ in range(2 * PAGE_MAX)]
    await service.end(*many)
    async with listening(service):
        assert all(service.revocations.has_ended(session_id) for session_id in many)


async def test_without_redis_only_what_was_signed_just_now_is_believed(
    service: Service, own_valkey: ValkeyServer
) -> None:
    service.sign_in("a")
    async with listening(service):
        own_valkey.kill()
        await service.clock.advance(FRESH_S)
        assert service.accepts("a")
        await service.clock.advance(1)
        with pytest.raises(RevocationsUnknown):
            service.accepts("a")
        service.sign_in("a")
        assert service.accepts("a")
        await service.clock.advance(FRESH_S + 1)
        with pytest.raises(RevocationsUnknown):
            service.accepts("a")
        own_valkey.start()
        await until(lambda: service.revocations.are_known)
        assert service.accepts("a")


async def test_what_ended_while_redis_was_not_heard_is_heard_after(
    service: Service, own_valkey: ValkeyServer
) -> None:
    for session_id in ("before", "after", "goes on"):
        service.sign_in(session_id)
    async with listening(service):
        await service.end("before")
        await until(lambda: not service.accepts("before"))
        # It comes back empty, as another server would.
        own_valkey.kill()
        own_valkey.start()
        await service.end("after")
        await until(lambda: not service.accepts("after"))
        assert not service.accepts("before")
        assert service.accepts("goes on")


async def test_before_the_first_look_nothing_old_is_believed(service: Service) -> None:
    service.sign_in("a")
    assert service.accepts("a")
    await service.clock.advance(FRESH_S + 1)
    with pytest.raises(RevocationsUnknown):
        service.accepts("a")


async def test_what_outlived_all_tokens_is_forgotten_here_and_in_redis(service: Service) -> None:
    async with listening(service):
        service.revocations._take({"old": 0, "newer": 1})
        service.revocations._take({"new": KEPT_S * 1_000 + 1})
        assert not service.revocations.has_ended("old")
        assert service.revocations.has_ended("newer")
    async with Redis.from_url(service._url) as redis:
        await redis.xadd(KEY, {"s": "long ago"}, id="1-1")
        for _ in range(300):
            await redis.xadd(KEY, {"s": "long ago"}, id="1-*")
    await service.end("now")
    assert await service.kept() < 150
