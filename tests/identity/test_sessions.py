"""Sessions over a real channel and real Valkey: rotation, reuse, revocation, bounds."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest
from satreel.identity.v1 import identity_pb2

from mesh.clock import NS_PER_S, ManualClock
from mesh.errors import RemoteFailure
from mesh.ids import uuid7
from services.identity.adapters.users import StoredUsers
from services.identity.domain.sessions import REPEAT_S, SESSIONS_PER_USER_MAX
from services.identity.domain.users import User, UserId
from tests.conftest import ValkeyServer
from tests.identity.conftest import (
    FlakyStore,
    Identity,
    Wallet,
    log_in_request,
    pb,
    refused,
    run_identity,
)


async def refresh(identity: Identity, token: str, request_id: str = "") -> identity_pb2.Session:
    request = pb.RefreshSessionRequest(refresh_token=token, request_id=request_id)
    return (await identity.stub.RefreshSession(request)).session


async def authenticate(identity: Identity, token: str) -> pb.AuthenticateResponse:
    return await identity.stub.Authenticate(pb.AuthenticateRequest(access_token=token))


async def revoke(identity: Identity, user_id: str, session_id: str = "") -> int:
    with identity.server.user(user_id):
        answer = await identity.stub.RevokeSession(pb.RevokeSessionRequest(session_id=session_id))
    return answer.revoked


async def test_refresh_gives_the_next_pair(identity: Identity) -> None:
    first = await identity.log_in(Wallet())
    await identity.clock.advance(600)
    second = await refresh(identity, first.refresh_token)
    assert second.id == first.id
    assert second.access_expires_at.ToNanoseconds() == identity.clock.now_ns() + 900 * 10**9
    await authenticate(identity, second.access_token)
    async with refused("SESSION_INVALID"):
        await authenticate(identity, first.access_token)
    third = await refresh(identity, second.refresh_token)
    await authenticate(identity, third.access_token)


async def test_a_reused_refresh_token_ends_the_whole_session(identity: Identity) -> None:
    wallet = Wallet()
    other = await identity.log_in(wallet)
    first = await identity.log_in(wallet)
    second = await refresh(identity, first.refresh_token)
    async with refused("REFRESH_TOKEN_REUSED"):
        await refresh(identity, first.refresh_token)
    async with refused("SESSION_INVALID"):
        await authenticate(identity, second.access_token)
    async with refused("SESSION_INVALID"):
        await refresh(identity, second.refresh_token)
    assert await identity.sessions(first.user.id) == [other.id]


async def test_a_client_whose_answer_was_lost_may_ask_again(identity: Identity) -> None:
    first, name = await identity.log_in(Wallet()), secrets.token_urlsafe(16)
    lost = await refresh(identity, first.refresh_token, name)
    await identity.clock.advance(REPEAT_S - 1)
    found = await refresh(identity, first.refresh_token, name)
    again = await refresh(identity, first.refresh_token, name)
    assert len({lost.refresh_token, found.refresh_token, again.refresh_token}) == 3
    await authenticate(identity, again.access_token)
    for stale in (lost, found):
        async with refused("SESSION_INVALID"):
            await authenticate(identity, stale.access_token)
    await refresh(identity, again.refresh_token)
    # The request is over once its answer was used: what comes of it now was copied.
    async with refused("REFRESH_TOKEN_REUSED"):
        await refresh(identity, first.refresh_token, name)
    assert await identity.sessions(first.user.id) == []


async def test_a_client_may_ask_again_before_it_is_answered(identity: Identity) -> None:
    first, name = await identity.log_in(Wallet()), secrets.token_urlsafe(16)
    pairs = await asyncio.gather(*(refresh(identity, first.refresh_token, name) for _ in range(5)))
    good = await asyncio.gather(
        *(authenticate(identity, pair.access_token) for pair in pairs), return_exceptions=True
    )
    assert sum(isinstance(answer, pb.AuthenticateResponse) for answer in good) == 1


@pytest.mark.parametrize("late_s", [0, REPEAT_S])
async def test_a_thief_cannot_pass_for_a_client_that_asks_again(identity: Identity, late_s: int) -> None:
    names = ["", secrets.token_urlsafe(16), secrets.token_urlsafe(16)]
    for used, tried in ((names[1], ""), (names[1], names[2]), ("", names[1]), ("", ""), (names[1], names[1])):
        if used == tried != "" and not late_s:
            continue
        session = await identity.log_in(Wallet())
        await refresh(identity, session.refresh_token, used)
        await identity.clock.advance(late_s)
        async with refused("REFRESH_TOKEN_REUSED"):
            await refresh(identity, session.refresh_token, tried)
        assert await identity.sessions(session.user.id) == []


async def test_the_pair_that_was_lost_is_worth_nothing_to_who_found_it(identity: Identity) -> None:
    first, name = await identity.log_in(Wallet()), secrets.token_urlsafe(16)
    lost = await refresh(identity, first.refresh_token, name)
    await refresh(identity, first.refresh_token, name)
    async with refused("REFRESH_TOKEN_REUSED"):
        await refresh(identity, lost.refresh_token)
    assert await identity.sessions(first.user.id) == []


async def test_one_refresh_token_used_twice_at_the_same_moment(identity: Identity) -> None:
    first = await identity.log_in(Wallet())
    answers = await asyncio.gather(
        *(refresh(identity, first.refresh_token) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(answer, identity_pb2.Session) for answer in answers) <= 1
    reasons = {answer.reason for answer in answers if isinstance(answer, RemoteFailure)}
    assert "REFRESH_TOKEN_REUSED" in reasons
    assert await identity.sessions(first.user.id) == []


async def test_knowing_a_session_is_not_enough_to_end_it(identity: Identity) -> None:
    session = await identity.log_in(Wallet())
    for forged in (f"{session.id}.x.y", f"{session.id}.{'a' * 43}.{'b' * 43}", f"{uuid7()}.a.b", "x" * 100):
        async with refused("SESSION_INVALID"):
            await refresh(identity, forged)
        async with refused("SESSION_INVALID"):
            await authenticate(identity, forged)
    assert await identity.sessions(session.user.id) == [session.id]
    await authenticate(identity, session.access_token)


async def test_tokens_expire(identity: Identity) -> None:
    session = await identity.log_in(Wallet())
    await identity.clock.advance(15 * 60)
    async with refused("SESSION_INVALID"):
        await authenticate(identity, session.access_token)
    session = await refresh(identity, session.refresh_token)
    await identity.clock.advance(30 * 24 * 3600)
    async with refused("SESSION_INVALID"):
        await refresh(identity, session.refresh_token)


async def test_revoking_one_all_and_again(identity: Identity) -> None:
    wallet = Wallet()
    sessions = [await identity.log_in(wallet) for _ in range(3)]
    user_id = sessions[0].user.id
    assert await revoke(identity, user_id, sessions[0].id) == 1
    assert await revoke(identity, user_id, sessions[0].id) == 0
    assert await revoke(identity, user_id, uuid7()) == 0
    async with refused("SESSION_INVALID"):
        await authenticate(identity, sessions[0].access_token)
    await authenticate(identity, sessions[1].access_token)
    assert await revoke(identity, user_id) == 2
    assert await identity.sessions(user_id) == []
    assert await revoke(identity, user_id) == 0


async def test_nobody_ends_the_session_of_another(identity: Identity) -> None:
    alice, mallory = await identity.log_in(Wallet()), await identity.log_in(Wallet())
    async with refused("NOT_YOURS"):
        await revoke(identity, mallory.user.id, alice.id)
    await authenticate(identity, alice.access_token)


async def test_a_user_token_is_no_newer_than_the_look_at_its_session(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is believed for some seconds from its signing on: not from a moment when the session had ended."""
    alice, get = await identity.log_in(Wallet()), StoredUsers.get
    before_s = identity.clock.now_ns() // NS_PER_S

    async def slow(users: StoredUsers, user_id: UserId) -> User | None:
        if await identity.sessions(user_id):
            await revoke(identity, user_id)
            await identity.clock.advance(4)
        return await get(users, user_id)

    monkeypatch.setattr(StoredUsers, "get", slow)
    token = (await authenticate(identity, alice.access_token)).user_token
    assert identity.verifier.verify(token).signed_at_s == before_s


async def test_sessions_are_listed_newest_first_without_secrets(identity: Identity) -> None:
    wallet = Wallet()
    first = await identity.log_in(wallet, client="first")
    await identity.clock.advance(1)
    second = await identity.log_in(wallet, client="second")
    with identity.server.user(first.user.id):
        listed = (await identity.stub.ListSessions(pb.ListSessionsRequest())).sessions
    assert [(session.id, session.client) for session in listed] == [
        (second.id, "second"),
        (first.id, "first"),
    ]


async def test_a_user_has_a_bounded_number_of_sessions(identity: Identity) -> None:
    wallet = Wallet()
    sessions = []
    for _ in range(SESSIONS_PER_USER_MAX + 2):
        await identity.clock.advance(7)  # stays below the limit on attempts
        sessions.append(await identity.log_in(wallet))
    open_ids = await identity.sessions(sessions[0].user.id)
    assert open_ids == [session.id for session in reversed(sessions[2:])]
    async with refused("SESSION_INVALID"):
        await authenticate(identity, sessions[0].access_token)
    await authenticate(identity, sessions[-1].access_token)


async def test_calls_of_users_need_a_user(identity: Identity) -> None:
    for call in (
        identity.stub.ListSessions(pb.ListSessionsRequest()),
        identity.stub.RevokeSession(pb.RevokeSessionRequest()),
        identity.stub.SetDisplayName(pb.SetDisplayNameRequest(display_name="somebody")),
    ):
        async with refused("USER_TOKEN_MISSING"):
            await call


async def test_no_secret_is_kept_or_logged(identity: Identity, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    wallet = Wallet()
    request = log_in_request(await identity.challenge(wallet.address), wallet)
    first = (await identity.stub.LogIn(request)).session
    second = await refresh(identity, first.refresh_token)
    signed_in = await authenticate(identity, second.access_token)
    async with refused("REFRESH_TOKEN_REUSED"):
        await refresh(identity, first.refresh_token)
    secrets = [request.signature, signed_in.user_token]
    for token in (first.access_token, first.refresh_token, second.access_token, second.refresh_token):
        secrets += token.split(".")[1:]
    kept = [str(await dump(identity, key)) for key in await identity.redis.keys("identity:*")]
    for secret in secrets:
        assert secret not in caplog.text
        assert not any(secret in text for text in kept)


async def dump(identity: Identity, key: bytes | str) -> object:
    kind = await identity.redis.type(key)
    if kind == b"hash":
        return await identity.redis.hgetall(key)
    return await identity.redis.get(key) if kind == b"string" else key


async def test_without_redis_everything_says_so_and_comes_back(
    store: FlakyStore, own_valkey: ValkeyServer, clock: ManualClock, tmp_path: Path
) -> None:
    async with run_identity(store, own_valkey.url, clock, frozenset(), tmp_path / "keys") as identity:
        wallet = Wallet()
        session = await identity.log_in(wallet)
        request = log_in_request(await identity.challenge(wallet.address), wallet)
        own_valkey.kill()
        user = pb.GetUserRequest(user_id=session.user.id)
        for call in (
            identity.challenge(wallet.address),
            identity.stub.LogIn(request),
            authenticate(identity, session.access_token),
            refresh(identity, session.refresh_token),
            identity.sessions(session.user.id),
            revoke(identity, session.user.id, session.id),
        ):
            async with refused("UNAVAILABLE"):
                await call
        assert (await identity.stub.GetUser(user)).user.address == wallet.address
        own_valkey.start()
        again = await identity.log_in(wallet)
        assert again.user.id == session.user.id
        async with refused("SESSION_INVALID"):
            await authenticate(identity, session.access_token)
