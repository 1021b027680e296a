"""Profiles and news over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from bsv.constants import Network as BsvNetwork
from satreel.identity.v1 import identity_pb2

from mesh.ids import uuid7
from services.identity.adapters.users import StoredUsers
from services.identity.app.ports import NameHold
from services.identity.domain.users import User, UserId
from tests.identity.conftest import LOG_IN, PAYOUT, Identity, Wallet, pb, refused


async def named(identity: Identity, user_id: str, name: str) -> identity_pb2.User:
    with identity.server.user(user_id):
        answer = await identity.stub.SetDisplayName(pb.SetDisplayNameRequest(display_name=name))
    return answer.user


async def user(identity: Identity, user_id: str) -> identity_pb2.User:
    return (await identity.stub.GetUser(pb.GetUserRequest(user_id=user_id))).user


async def proof(
    identity: Identity, user_id: str, wallet: Wallet, purpose: int = PAYOUT
) -> pb.SetPayoutAddressRequest:
    with identity.server.user(user_id):
        challenge = await identity.challenge(wallet.address, purpose)
    return pb.SetPayoutAddressRequest(
        challenge_id=challenge.id,
        address=wallet.address,
        signature=wallet.sign(challenge.message),
        auto_payout=True,
    )


async def set_payout(
    identity: Identity, user_id: str, request: pb.SetPayoutAddressRequest
) -> identity_pb2.User:
    with identity.server.user(user_id):
        return (await identity.stub.SetPayoutAddress(request)).user


async def test_users_are_found(identity: Identity) -> None:
    sessions = [await identity.log_in(Wallet()) for _ in range(2)]
    assert await user(identity, sessions[0].user.id) == sessions[0].user
    async with refused("USER_NOT_FOUND"):
        await user(identity, uuid7())
    asked = [sessions[1].user.id, uuid7(), sessions[0].user.id]
    found = await identity.stub.BatchGetUsers(pb.BatchGetUsersRequest(user_ids=asked))
    assert [person.id for person in found.users] == [asked[0], asked[2]]


async def test_a_name_is_borne_by_one(identity: Identity) -> None:
    alice, bob = await identity.log_in(Wallet()), await identity.log_in(Wallet())
    assert (await named(identity, alice.user.id, "The Painter")).display_name == "The Painter"
    for name in ("The Painter", "the painter", "x", "reel-abc", "no\x00pe", bob.user.display_name.upper()):
        before = await user(identity, bob.user.id)
        async with refused("INVALID_ARGUMENT" if len(name) < 3 else "NAME_INVALID"):
            await named(identity, bob.user.id, name)
        assert await user(identity, bob.user.id) == before
    assert (await named(identity, alice.user.id, "THE painter")).display_name == "THE painter"
    await named(identity, alice.user.id, "Somebody Else")
    # The name that Alice gave up is free, after the time in which she might have been dying with it.
    async with refused("NAME_INVALID"):
        await named(identity, bob.user.id, "The Painter")
    await identity.clock.advance(60)
    assert (await named(identity, bob.user.id, "The Painter")).display_name == "The Painter"


async def test_a_name_is_given_to_one_of_many(identity: Identity) -> None:
    people = [await identity.log_in(Wallet()) for _ in range(5)]
    answers = await asyncio.gather(
        *(named(identity, person.user.id, "Highlander") for person in people), return_exceptions=True
    )
    assert sum(isinstance(answer, identity_pb2.User) for answer in answers) == 1
    users = [await user(identity, person.user.id) for person in people]
    assert sum(person.display_name == "Highlander" for person in users) == 1


async def test_a_name_reserved_by_a_crash_is_free_again(identity: Identity) -> None:
    alice = await identity.log_in(Wallet())
    await identity.users.reserve_name("ghost", NameHold(UserId(uuid7()), identity.clock.now_ns()))
    async with refused("NAME_INVALID"):
        await named(identity, alice.user.id, "Ghost")
    await identity.clock.advance(60)
    assert (await named(identity, alice.user.id, "Ghost")).display_name == "Ghost"


async def test_payout_address_by_proof(identity: Identity) -> None:
    alice, purse = await identity.log_in(Wallet()), Wallet()
    request = await proof(identity, alice.user.id, purse)
    changed = await set_payout(identity, alice.user.id, request)
    assert (changed.payout_address, changed.auto_payout) == (purse.address, True)
    assert await user(identity, alice.user.id) == changed
    request.auto_payout = False
    async with refused("CHALLENGE_USED"):
        await set_payout(identity, alice.user.id, request)
    assert await user(identity, alice.user.id) == changed


async def test_an_older_proof_does_not_undo_a_newer_one(identity: Identity) -> None:
    alice, old, new = await identity.log_in(Wallet()), Wallet(), Wallet()
    older = await proof(identity, alice.user.id, old)
    await identity.clock.advance(1)
    newer = await proof(identity, alice.user.id, new)
    await set_payout(identity, alice.user.id, newer)
    async with refused("CHALLENGE_USED"):
        await set_payout(identity, alice.user.id, older)
    assert (await user(identity, alice.user.id)).payout_address == new.address


async def test_payout_proofs_are_bound_to_user_and_purpose(identity: Identity) -> None:
    alice, mallory = await identity.log_in(Wallet()), await identity.log_in(Wallet())
    purse = Wallet()
    before = [await user(identity, person.user.id) for person in (alice, mallory)]
    request = await proof(identity, alice.user.id, purse)
    async with refused("CHALLENGE_MISMATCH"):
        await set_payout(identity, mallory.user.id, request)
    async with refused("CHALLENGE_MISMATCH"):
        await set_payout(identity, alice.user.id, await proof(identity, alice.user.id, purse, LOG_IN))
    request.signature = Wallet().sign("something else")
    async with refused("SIGNATURE_INVALID"):
        await set_payout(identity, alice.user.id, request)
    async with refused("UNAUTHENTICATED"):
        await identity.challenge(purse.address, PAYOUT)
    with identity.server.user(alice.user.id):
        async with refused("ADDRESS_INVALID"):
            await identity.challenge(Wallet(BsvNetwork.MAINNET).address, PAYOUT)
    assert [await user(identity, person.user.id) for person in (alice, mallory)] == before


async def test_nobody_can_use_up_the_payout_tries_of_another(identity: Identity) -> None:
    alice, mallory = await identity.log_in(Wallet()), await identity.log_in(Wallet())
    purse = Wallet()
    request = await proof(identity, alice.user.id, purse)
    for reason in (*["CHALLENGE_MISMATCH"] * 10, "TOO_MANY_ATTEMPTS"):
        async with refused(reason):
            await set_payout(identity, mallory.user.id, request)
    assert (await set_payout(identity, alice.user.id, request)).payout_address == purse.address


async def test_a_failure_on_our_side_does_not_use_a_payout_proof_up(identity: Identity) -> None:
    alice, purse = await identity.log_in(Wallet()), Wallet()
    request = await proof(identity, alice.user.id, purse)
    identity.store.away = True
    async with refused("STORE_UNAVAILABLE"):
        await set_payout(identity, alice.user.id, request)
    identity.store.away = False
    assert (await set_payout(identity, alice.user.id, request)).payout_address == purse.address


async def news(identity: Identity, cursor: str = "") -> AsyncGenerator[pb.WatchIdentityResponse, None]:
    async for response in identity.stub.WatchIdentity(pb.WatchIdentityRequest(cursor=cursor)):
        yield response


async def test_news_comes_after_a_snapshot_and_from_a_cursor(identity: Identity) -> None:
    told = news(identity)
    first = await anext(told)
    assert first.WhichOneof("news") == "snapshot"
    session = await identity.log_in(Wallet())
    await named(identity, session.user.id, f"n{session.id[-12:]}")
    with identity.server.user(session.user.id):
        await identity.stub.RevokeSession(pb.RevokeSessionRequest())
    events = [await anext(told) for _ in range(4)]
    subjects = [response.event.WhichOneof("subject") for response in events]
    assert subjects == ["user_created", "logged_in", "user_changed", "session_revoked"]
    assert events[0].event.user_created.user == session.user
    assert events[3].event.session_revoked.session_id == session.id
    assert sorted(response.event.id for response in events) == [response.event.id for response in events]
    await told.aclose()
    again = news(identity, first.cursor)
    assert await anext(again) == events[0]
    await again.aclose()


async def test_a_name_that_was_given_up_is_not_taken_by_two(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alice wants back what she gave up, and Bob wants it at the same moment."""
    alice, bob = await identity.log_in(Wallet()), await identity.log_in(Wallet())
    await named(identity, alice.user.id, "Phoenix")
    await named(identity, alice.user.id, "Ashes")
    await identity.clock.advance(60)
    change = StoredUsers.change

    async def slow(users: StoredUsers, user_id: UserId, decide: Callable[[User], User]) -> User | None:
        if user_id == alice.user.id:
            async with refused("NAME_INVALID"):
                await named(identity, bob.user.id, "Phoenix")
        return await change(users, user_id, decide)

    monkeypatch.setattr(StoredUsers, "change", slow)
    assert (await named(identity, alice.user.id, "Phoenix")).display_name == "Phoenix"
    assert (await user(identity, bob.user.id)).display_name != "Phoenix"
