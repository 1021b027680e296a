"""User tokens: short-lived EdDSA JWTs in which identity says who is signed in, verified by every service.

Claims: sub (user id), roles, sid (session id), iss, aud, iat, exp.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from mesh.clock import NS_PER_S, Clock
from mesh.errors import Unauthenticated
from mesh.revocations import Revocations

ISSUER = "spiffe://satreel/identity"
AUDIENCE = "satreel"
LIFETIME_S_DEFAULT = 300
VERIFIED_MAX = 10_000
# What HTTP says to who brings no token, and to whose is refused (RFC 6750, section 3).
CHALLENGE = 'Bearer realm="satreel"'
CHALLENGE_INVALID = f'{CHALLENGE}, error="invalid_token"'
# Clocks of two machines may differ by this much.
LEEWAY_S = 5


class TokenInvalid(Unauthenticated):
    """The user token is expired, forged or malformed."""

    reason = "TOKEN_INVALID"


@dataclass(frozen=True, slots=True)
class UserClaims:
    """What a verified token says."""

    user_id: str
    roles: frozenset[str]
    session_id: str | None
    signed_at_s: int
    expires_at_s: int


class UserTokenSigner:
    """Makes user tokens. Only identity holds the private key (PEM, Ed25519)."""

    def __init__(self, private_key_pem: bytes, clock: Clock, lifetime_s: int = LIFETIME_S_DEFAULT) -> None:
        key = load_pem_private_key(private_key_pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("user tokens are signed with an Ed25519 key")
        self._key = key
        self._clock = clock
        self.lifetime_s = lifetime_s

    def sign(
        self, *, user_id: str, roles: frozenset[str], session_id: str, as_of_ns: int | None = None
    ) -> tuple[str, datetime]:
        """A token and when it expires. `as_of_ns`: when the session was seen to go on; None: now."""
        now_s = (self._clock.now_ns() if as_of_ns is None else as_of_ns) // NS_PER_S
        expires_at_s = now_s + self.lifetime_s
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "sid": session_id,
            "roles": sorted(roles),
            "iat": now_s,
            "exp": expires_at_s,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA"), datetime.fromtimestamp(expires_at_s, UTC)


class UserTokenVerifier:
    """Verifies user tokens with identity's public key (PEM). Remembers a bounded number of good ones.

    Without `revocations` a token is believed until it expires, whatever became of its session.
    """

    def __init__(self, public_key_pem: bytes, clock: Clock, revocations: Revocations | None = None) -> None:
        key = load_pem_public_key(public_key_pem)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("user tokens are verified with an Ed25519 key")
        self._key = key
        self._clock = clock
        self._revocations = revocations
        self._verified: OrderedDict[str, UserClaims] = OrderedDict()

    def verify(self, token: str) -> UserClaims:
        """What the token says. Raises TokenInvalid, SessionEnded, RevocationsUnknown."""
        claims = self._verified.get(token) or self._decode(token)
        if claims.expires_at_s + LEEWAY_S <= self._clock.now_ns() // NS_PER_S:
            self._verified.pop(token, None)
            raise TokenInvalid("the user token has expired")
        if self._revocations is not None:
            self._revocations.check(claims.session_id, claims.signed_at_s)
        self._verified[token] = claims
        self._verified.move_to_end(token)
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)
        return claims

    def _decode(self, token: str) -> UserClaims:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=ISSUER,
                # Expiry is checked against our own clock, on every use.
                options={
                    "require": ["exp", "iat", "sub", "iss", "aud"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
            return UserClaims(
                user_id=str(claims["sub"]),
                roles=frozenset(str(role) for role in claims.get("roles", [])),
                session_id=claims.get("sid"),
                signed_at_s=int(claims["iat"]),
                expires_at_s=int(claims["exp"]),
            )
        except (jwt.InvalidTokenError, TypeError, ValueError) as problem:
            raise TokenInvalid from problem
