"""Log-in over a real channel, real Valkey and SQLite: once per challenge, one user per address."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from satreel.identity.v1 import identity_pb2

from mesh.errors import RemoteFailure
from mesh.ids import uuid7
from services.identity.adapters.wallets.addresses import Kind
from services.identity.domain.users import Address, AddressClaim, UserId
from tests.identity.conftest import PAYOUT, Identity, Wallet, log_in_request, pb, refused
from tests.identity.signers import Signer


async def user_of(identity: Identity, wallet: Wallet) -> str:
    """The user of the address, found by logging in again."""
    return (await identity.log_in(wallet)).user.id


async def test_log_in_opens_a_session_that_authenticates(identity: Identity) -> None:
    wallet = Wallet()
    session = await identity.log_in(wallet, client="a browser")
    signed_in = await identity.stub.Authenticate(pb.AuthenticateRequest(access_token=session.access_token))
    assert signed_in.user.address == wallet.address
    assert signed_in.user.display_name == f"reel-{wallet.address[-6:]}"
    assert signed_in.user.roles == [identity_pb2.ROLE_USER]
    assert signed_in.session_id == session.id
    claims = identity.verifier.verify(signed_in.user_token)
    assert (claims.user_id, claims.session_id) == (session.user.id, session.id)
    assert claims.roles == {"user"}
    assert signed_in.expires_at.ToNanoseconds() == identity.clock.now_ns() + 60 * 10**9


async def test_administrators_by_configured_address(identity: Identity, admin: Wallet) -> None:
    session = await identity.log_in(admin)
    signed_in = await identity.stub.Authenticate(pb.AuthenticateRequest(access_token=session.access_token))
    assert signed_in.user.roles == [identity_pb2.ROLE_USER, identity_pb2.ROLE_ADMIN]
    assert identity.verifier.verify(signed_in.user_token).roles == {"user", "admin"}


@pytest.mark.parametrize("address", ["1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "x" * 20])
async def test_address_invalid(identity: Identity, address: str) -> None:
    keys = await identity.redis.keys(f"identity:*{address}*")
    async with refused("ADDRESS_INVALID") as metadata:
        await identity.challenge(address)
    assert metadata["network"] == "regtest"
    assert await identity.redis.keys(f"identity:*{address}*") == keys


@pytest.mark.parametrize("scheme", Signer.SCHEMES)
async def test_every_kind_of_wallet_logs_in(identity: Identity, scheme: str) -> None:
    for kind in Signer.SCHEMES[scheme]:
        signer = Signer(secrets.token_bytes(32))
        challenge = await identity.challenge(signer.address(kind))
        request = log_in_request(challenge, Wallet())
        request.address, request.signature = (
            signer.address(kind),
            signer.sign(scheme, kind, challenge.message),
        )
        session = (await identity.stub.LogIn(request)).session
        assert session.user.address == signer.address(kind)


async def test_a_segwit_address_is_one_user_in_either_case(identity: Identity) -> None:
    signer = Signer(secrets.token_bytes(32))
    users = set()
    for address in (signer.address(Kind.P2TR), signer.address(Kind.P2TR).upper()):
        challenge = await identity.challenge(address)
        assert signer.address(Kind.P2TR) in challenge.message
        request = log_in_request(challenge, Wallet())
        request.address, request.signature = address, signer.sign("bip322", Kind.P2TR, challenge.message)
        users.add((await identity.stub.LogIn(request)).session.user.id)
    assert len(users) == 1


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.P2PKH])
async def test_bsv_is_never_paid_to_what_no_bsv_wallet_spends(identity: Identity, kind: Kind) -> None:
    session = await identity.log_in(Wallet())
    with identity.server.user(session.user.id):
        async with refused("ADDRESS_INVALID"):
            await identity.challenge(Signer(secrets.token_bytes(32)).address(kind), PAYOUT)


async def test_challenge_works_once(identity: Identity) -> None:
    wallet = Wallet()
    request = log_in_request(await identity.challenge(wallet.address), wallet)
    session = (await identity.stub.LogIn(request)).session
    async with refused("CHALLENGE_USED"):
        await identity.stub.LogIn(request)
    assert await identity.sessions(session.user.id) == [session.id]


async def test_challenge_works_once_for_two_at_the_same_moment(identity: Identity) -> None:
    wallet = Wallet()
    challenge = await identity.challenge(wallet.address)
    answers = await asyncio.gather(
        *(identity.stub.LogIn(log_in_request(challenge, wallet)) for _ in range(8)), return_exceptions=True
    )
    sessions = [answer.session for answer in answers if isinstance(answer, pb.LogInResponse)]
    reasons = {answer.reason for answer in answers if isinstance(answer, RemoteFailure)}
    assert len(sessions) == 1
    assert reasons == {"CHALLENGE_USED"}
    assert await identity.sessions(sessions[0].user.id) == [sessions[0].id]


async def test_unknown_and_expired_challenges(identity: Identity) -> None:
    wallet = Wallet()
    challenge = await identity.challenge(wallet.address)
    async with refused("CHALLENGE_NOT_FOUND"):
        await identity.stub.LogIn(
            log_in_request(identity_pb2.Challenge(id=uuid7(), message=challenge.message), wallet)
        )
    await identity.clock.advance(300)
    async with refused("CHALLENGE_NOT_FOUND"):
        await identity.stub.LogIn(log_in_request(challenge, wallet))
    assert await identity.sessions(await user_of(identity, wallet)) != []


async def test_challenge_of_another_address_or_purpose(identity: Identity) -> None:
    alice, mallory = Wallet(), Wallet()
    challenge = await identity.challenge(alice.address)
    async with refused("CHALLENGE_MISMATCH"):
        await identity.stub.LogIn(log_in_request(challenge, mallory))
    session = (await identity.stub.LogIn(log_in_request(challenge, alice))).session
    with identity.server.user(session.user.id):
        payout = await identity.challenge(alice.address, PAYOUT)
    async with refused("CHALLENGE_MISMATCH"):
        await identity.stub.LogIn(log_in_request(payout, alice))
    assert await identity.sessions(session.user.id) == [session.id]


async def test_a_wrong_signature_uses_nothing_up(identity: Identity) -> None:
    wallet = Wallet()
    challenge = await identity.challenge(wallet.address)
    request = log_in_request(challenge, wallet)
    request.signature = Wallet().sign(challenge.message)
    async with refused("SIGNATURE_INVALID"):
        await identity.stub.LogIn(request)
    session = (await identity.stub.LogIn(log_in_request(challenge, wallet))).session
    assert await identity.sessions(session.user.id) == [session.id]


async def test_a_failure_on_our_side_uses_nothing_up(identity: Identity) -> None:
    wallet = Wallet()
    request = log_in_request(await identity.challenge(wallet.address), wallet)
    identity.store.away = True
    async with refused("STORE_UNAVAILABLE"):
        await identity.stub.LogIn(request)
    identity.store.away = False
    session = (await identity.stub.LogIn(request)).session
    assert await identity.sessions(session.user.id) == [session.id]


async def test_two_first_log_ins_make_one_user(identity: Identity) -> None:
    wallet = Wallet()
    sessions = await asyncio.gather(*(identity.log_in(wallet) for _ in range(6)))
    assert len({session.user.id for session in sessions}) == 1
    assert len(await identity.sessions(sessions[0].user.id)) == 6


async def test_a_user_lost_between_two_records_is_made_at_the_next_log_in(identity: Identity) -> None:
    wallet = Wallet()
    claim = AddressClaim(Address(wallet.address), UserId(uuid7()), 7)
    await identity.users.claim(claim)
    assert await identity.users.get(claim.user_id) is None
    session = await identity.log_in(wallet)
    assert session.user.id == claim.user_id
    assert session.user.created_at.ToNanoseconds() == 7


async def test_too_many_log_ins_for_one_address_from_one_place(identity: Identity) -> None:
    wallet = Wallet()
    challenge = await identity.challenge(wallet.address)
    request = log_in_request(challenge, wallet)
    request.client_address = uuid7()
    request.signature = Wallet().sign(challenge.message)
    for _ in range(10):
        async with refused("SIGNATURE_INVALID"):
            await identity.stub.LogIn(request)
    request.signature = wallet.sign(challenge.message)
    async with refused("TOO_MANY_ATTEMPTS") as metadata:
        await identity.stub.LogIn(request)
    # The owner, who is elsewhere, is not locked out.
    elsewhere = log_in_request(challenge, wallet)
    session = (await identity.stub.LogIn(elsewhere)).session
    assert await identity.sessions(session.user.id) == [session.id]
    await identity.clock.advance(float(metadata["retry_after_s"]))
    async with refused("CHALLENGE_USED"):
        await identity.stub.LogIn(request)


async def test_too_many_log_ins_from_one_place(identity: Identity) -> None:
    place = uuid7()
    wallets = [Wallet() for _ in range(21)]
    requests = [log_in_request(await identity.challenge(wallet.address), wallet) for wallet in wallets]
    for request in requests:
        request.client_address = place
    for request in requests[:20]:
        await identity.stub.LogIn(request)
    async with refused("TOO_MANY_ATTEMPTS"):
        await identity.stub.LogIn(requests[20])
    requests[20].client_address = "elsewhere" + place
    assert (await identity.stub.LogIn(requests[20])).session.id


async def test_too_many_challenges(identity: Identity) -> None:
    wallet, place = Wallet(), uuid7()
    for _ in range(30):
        await identity.challenge(wallet.address, client=place)
    async with refused("TOO_MANY_ATTEMPTS") as metadata:
        await identity.challenge(wallet.address, client=place)
    assert 0 < int(metadata["retry_after_s"]) <= 60
    for _ in range(9):  # 30 + 1 refused + 9 = 40 from this place
        await identity.challenge(Wallet().address, client=place)
    async with refused("TOO_MANY_ATTEMPTS"):
        await identity.challenge(Wallet().address, client=place)
    await identity.clock.advance(60)
    assert (await identity.challenge(wallet.address, client=place)).id


async def test_a_bad_request_is_refused_by_its_contract(identity: Identity) -> None:
    for request in (pb.LogInRequest(), pb.LogInRequest(challenge_id="x", address="y" * 20, signature="z")):
        async with refused("INVALID_ARGUMENT"):
            await identity.stub.LogIn(request)
    async with refused("INVALID_ARGUMENT"):
        await identity.challenge(Wallet().address, purpose=0)
