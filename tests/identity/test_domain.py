"""Rules: names, challenges, tokens."""

from __future__ import annotations

import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import NS_PER_S
from services.identity.domain.challenges import (
    CHALLENGE_LIFETIME_S,
    Challenge,
    ChallengeId,
    Purpose,
    new_challenge,
)
from services.identity.domain.failures import (
    ChallengeMismatch,
    ChallengeNotFound,
    NameInvalid,
    RefreshTokenReused,
    SessionInvalid,
)
from services.identity.domain.sessions import (
    ACCESS_LIFETIME_S,
    REFRESH_LIFETIME_S,
    Session,
    SessionId,
    Tokens,
    open_session,
    session_of,
)
from services.identity.domain.users import (
    Address,
    AddressClaim,
    Role,
    UserId,
    checked_name,
    first_user,
    name_key,
    roles_of,
)

NOW_NS = 1_800_000_000 * NS_PER_S
ALICE = UserId("0190a000-0000-7000-8000-00000000000a")
SESSION = SessionId("0190a000-0000-7000-8000-000000000001")


def challenge(purpose: Purpose = Purpose.LOG_IN, user_id: UserId | None = None) -> Challenge:
    return new_challenge(
        challenge_id=ChallengeId("c1"),
        site="satreel.test",
        address=Address("mAddress"),
        purpose=purpose,
        user_id=user_id,
        nonce="n0nce",
        now_ns=NOW_NS,
    )


def session() -> tuple[Session, Tokens]:
    return open_session(
        session_id=SESSION,
        user_id=ALICE,
        client="",
        randomness=lambda: secrets.token_urlsafe(32),
        now_ns=NOW_NS,
    )


def test_message_names_everything_the_proof_is_bound_to() -> None:
    message = challenge(Purpose.PAYOUT_ADDRESS, ALICE).message
    for part in ("satreel.test", "mAddress", "payout_address", ALICE, "n0nce"):
        assert part in message
    assert "Issued: 2027-01-15T08:00:00Z" in message
    assert "Expires: 2027-01-15T08:05:00Z" in message


def test_messages_differ_by_purpose_and_user() -> None:
    messages = {
        challenge().message,
        challenge(Purpose.PAYOUT_ADDRESS, ALICE).message,
        challenge(Purpose.PAYOUT_ADDRESS, UserId("bob")).message,
    }
    assert len(messages) == 3


def test_challenge_is_good_until_it_expires() -> None:
    last_ns = NOW_NS + CHALLENGE_LIFETIME_S * NS_PER_S - 1
    challenge().check(address="mAddress", purpose=Purpose.LOG_IN, user_id=None, now_ns=last_ns)
    with pytest.raises(ChallengeNotFound):
        challenge().check(address="mAddress", purpose=Purpose.LOG_IN, user_id=None, now_ns=last_ns + 1)


@pytest.mark.parametrize(
    ("address", "purpose", "user_id"),
    [
        ("other", Purpose.LOG_IN, None),
        ("mAddress", Purpose.PAYOUT_ADDRESS, None),
        ("mAddress", Purpose.LOG_IN, ALICE),
    ],
)
def test_challenge_is_for_one_thing(address: str, purpose: Purpose, user_id: UserId | None) -> None:
    with pytest.raises(ChallengeMismatch):
        challenge().check(address=address, purpose=purpose, user_id=user_id, now_ns=NOW_NS)


@given(st.text(max_size=40))
def test_a_name_is_safe_to_show_or_refused(name: str) -> None:
    try:
        checked_name(name)
    except NameInvalid:
        return
    assert re.fullmatch(r"[A-Za-z0-9 ._-]{3,32}", name)
    assert name == name.strip()
    assert not name_key(name).startswith("reel-")


@pytest.mark.parametrize("name", ["abc", "A b.c-d_e", "x" * 32, "Reel"])
def test_names_that_may_be_chosen(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["ab", "x" * 33, " abc", "abc ", "a  b", "a\tb", "Аlice", "reel-abcdef", "REEL-x", "a\nb", "<b>x</b>"],
)
def test_names_that_may_not_be_chosen(name: str) -> None:
    with pytest.raises(NameInvalid):
        checked_name(name)


def test_administrators_are_those_the_operator_names() -> None:
    user = first_user(AddressClaim(Address("mAlice"), ALICE, NOW_NS))
    assert roles_of(user, frozenset()) == {Role.USER}
    assert roles_of(user, frozenset({"mAlice"})) == {Role.USER, Role.ADMIN}
    assert user.display_name == "reel-mAlice"


def test_secrets_are_not_stored_nor_shown() -> None:
    opened, tokens = session()
    assert len({tokens.access, tokens.refresh, opened.access_digest, opened.refresh_digest}) == 4
    for secret in (*tokens.access.split(".")[1:], *tokens.refresh.split(".")[1:]):
        assert secret not in repr(opened)
        assert secret not in repr(tokens)
    assert session_of(tokens.access) == session_of(tokens.refresh) == SESSION


def test_access_token_lasts_its_time() -> None:
    opened, tokens = session()
    end_ns = NOW_NS + ACCESS_LIFETIME_S * NS_PER_S
    opened.check_access(tokens.access, end_ns - 1)
    with pytest.raises(SessionInvalid):
        opened.check_access(tokens.access, end_ns)
    with pytest.raises(SessionInvalid):
        opened.check_access(tokens.refresh, NOW_NS)


def test_refresh_token_works_once() -> None:
    opened, first = session()
    opened.check_refresh(first.refresh, "", NOW_NS)
    fresh, second = opened.rotated(first.refresh, "", lambda: secrets.token_urlsafe(32), NOW_NS + NS_PER_S)
    fresh.check_refresh(second.refresh, "", NOW_NS)
    fresh.check_access(second.access, NOW_NS)
    with pytest.raises(RefreshTokenReused):
        fresh.check_refresh(first.refresh, "", NOW_NS)
    with pytest.raises(SessionInvalid):
        fresh.check_access(first.access, NOW_NS)
    with pytest.raises(SessionInvalid):
        fresh.check_refresh(second.refresh, "", NOW_NS + NS_PER_S + REFRESH_LIFETIME_S * NS_PER_S)


@given(st.text(max_size=200))
def test_a_stranger_cannot_pass_for_a_thief(token: str) -> None:
    opened, _ = session()
    for guess in (token, f"{SESSION}.{token}", f"{SESSION}.{token}.{token}"):
        with pytest.raises(SessionInvalid):
            opened.check_refresh(guess, "", NOW_NS)


@given(st.text(max_size=80))
def test_tokens_name_a_session_or_nothing(token: str) -> None:
    with pytest.raises(SessionInvalid):
        session_of(token)
