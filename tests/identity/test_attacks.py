"""What somebody tries who has seen, stolen or guessed something."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import ManualClock
from mesh.revocations import KEY as REVOCATIONS
from services.identity.adapters.wallets.addresses import Kind
from services.identity.domain.sessions import SESSIONS_PER_USER_MAX
from tests.conftest import ValkeyServer
from tests.identity.conftest import (
    LOG_IN,
    PAYOUT,
    FlakyStore,
    Identity,
    Wallet,
    log_in_request,
    pb,
    refused,
    run_identity,
)
from tests.identity.signers import Signer


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("satreel.test", "satreel.example"),
        ("log_in", "payout_address"),
        ("Expires: 20", "Expires: 21"),
        ("Issued: 20", "Issued: 19"),
        ("Nonce: ", "Nonce: x"),
    ],
)
async def test_a_text_signed_for_anything_else_is_worth_nothing(
    identity: Identity, said: str, meant: str
) -> None:
    wallet = Wallet()
    challenge = await identity.challenge(wallet.address)
    request = log_in_request(challenge, wallet)
    assert said in challenge.message
    request.signature = wallet.sign(challenge.message.replace(said, meant))
    async with refused("SIGNATURE_INVALID"):
        await identity.stub.LogIn(request)


async def test_what_was_signed_to_log_in_does_not_move_payouts(identity: Identity) -> None:
    wallet = Wallet()
    session = await identity.log_in(wallet)
    with identity.server.user(session.user.id):
        payout = await identity.challenge(wallet.address, PAYOUT)
        log_in = await identity.challenge(wallet.address, LOG_IN)
        request = pb.SetPayoutAddressRequest(
            challenge_id=payout.id, address=wallet.address, signature=wallet.sign(log_in.message)
        )
        async with refused("SIGNATURE_INVALID"):
            await identity.stub.SetPayoutAddress(request)
    # Nor does the log-in address become the payout address by itself.
    assert (await identity.log_in(wallet)).user.payout_address == ""


async def test_a_signature_that_was_seen_is_worth_nothing_without_the_challenges_id(
    identity: Identity,
) -> None:
    wallet = Wallet()
    challenge = await identity.challenge(wallet.address)
    assert challenge.id not in challenge.message
    request = log_in_request(challenge, wallet)
    # What the thief can get: a challenge of their own for the same address.
    request.challenge_id = (await identity.challenge(wallet.address)).id
    async with refused("SIGNATURE_INVALID"):
        await identity.stub.LogIn(request)


async def test_known_and_unknown_addresses_are_answered_alike(identity: Identity) -> None:
    known, unknown = Wallet(), Wallet()
    await identity.log_in(known)
    texts = set()
    for wallet in (known, unknown):
        challenge = await identity.challenge(wallet.address)
        texts.add(re.sub(r"Nonce: \S+", "Nonce", challenge.message.replace(wallet.address, "ADDRESS")))
        request = log_in_request(challenge, wallet)
        request.signature = Wallet().sign(challenge.message)
        async with refused("SIGNATURE_INVALID") as metadata:
            await identity.stub.LogIn(request)
        assert not metadata
    assert len(texts) == 1


async def test_each_log_in_is_a_session_of_its_own(identity: Identity) -> None:
    wallet = Wallet()
    sessions = [await identity.log_in(wallet, client="the same") for _ in range(3)]
    secret = [part for one in sessions for part in (one.access_token, one.refresh_token)]
    families = {one.refresh_token.split(".")[1] for one in sessions}
    assert len({one.id for one in sessions}) == len(families) == 3
    assert len({part.rpartition(".")[2] for part in secret}) == 6


async def test_another_spelling_of_an_address_is_no_way_around_the_limit(identity: Identity) -> None:
    address, place = Signer(secrets.token_bytes(32)).address(Kind.P2WPKH), secrets.token_hex(8)
    for turn in range(30):
        await identity.challenge(address.upper() if turn % 2 else address, client=place)
    for spelling in (address, address.upper()):
        async with refused("TOO_MANY_ATTEMPTS"):
            await identity.challenge(spelling, client=place)


async def test_a_session_store_that_takes_nothing_burns_no_challenge(
    store: FlakyStore, own_valkey: ValkeyServer, clock: ManualClock, tmp_path: Path
) -> None:
    async with run_identity(store, own_valkey.url, clock, frozenset(), tmp_path / "keys") as identity:
        wallet = Wallet()
        request = log_in_request(await identity.challenge(wallet.address), wallet)
        await identity.redis.config_set("maxmemory", 1)
        async with refused("UNAVAILABLE"):
            await identity.stub.LogIn(request)
        await identity.redis.config_set("maxmemory", 0)
        session = (await identity.stub.LogIn(request)).session
        assert await identity.sessions(session.user.id) == [session.id]


async def test_a_step_that_fails_half_way_burns_no_challenge(
    store: FlakyStore, own_valkey: ValkeyServer, clock: ManualClock, tmp_path: Path
) -> None:
    async with run_identity(store, own_valkey.url, clock, frozenset(), tmp_path / "keys") as identity:
        wallet = Wallet()
        session = await identity.log_in(wallet)
        index = f"identity:sessions:{session.user.id}"
        kept = await identity.redis.dump(index)
        assert kept is not None
        # The script fails on it, and nothing undoes what it did before.
        await identity.redis.set(index, "no sorted set")
        request = log_in_request(await identity.challenge(wallet.address), wallet)
        async with refused("UNAVAILABLE"):
            await identity.stub.LogIn(request)
        await identity.redis.restore(index, 0, kept, replace=True)
        assert (await identity.stub.LogIn(request)).session.user.id == session.user.id


async def told(identity: Identity) -> list[str]:
    """Ids of the sessions that all services hear have ended."""
    entries: Any = await identity.redis.xrange(REVOCATIONS)
    return [fields[b"s"].decode() for _, fields in entries]


async def test_a_session_that_had_to_make_room_is_told_of(
    store: FlakyStore, own_valkey: ValkeyServer, clock: ManualClock, tmp_path: Path
) -> None:
    async with run_identity(store, own_valkey.url, clock, frozenset(), tmp_path / "keys") as identity:
        wallet = Wallet()
        first = await identity.log_in(wallet)
        for _ in range(SESSIONS_PER_USER_MAX):
            await identity.clock.advance(20)
            await identity.log_in(wallet)
        assert await told(identity) == [first.id]


async def test_a_session_that_cannot_be_told_of_has_not_ended_and_can_be_ended_again(
    store: FlakyStore, own_valkey: ValkeyServer, clock: ManualClock, tmp_path: Path
) -> None:
    async with run_identity(store, own_valkey.url, clock, frozenset(), tmp_path / "keys") as identity:
        session = await identity.log_in(Wallet())
        request = pb.RevokeSessionRequest(session_id=session.id)
        with identity.server.user(session.user.id):
            await identity.redis.set(REVOCATIONS, "no stream")
            async with refused("UNAVAILABLE"):
                await identity.stub.RevokeSession(request)
            assert await identity.sessions(session.user.id) == [session.id]
            await identity.redis.delete(REVOCATIONS)
            assert (await identity.stub.RevokeSession(request)).revoked == 1
            assert (await identity.stub.RevokeSession(request)).revoked == 0
        assert await told(identity) == [session.id]
