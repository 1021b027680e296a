"""Why identity refuses. One class per reason of `satreel.identity.v1.ErrorReason`."""

from __future__ import annotations

from mesh.errors import (
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)


class ChallengeNotFound(NotFound):
    """No challenge has this id, or it has expired."""

    reason = "CHALLENGE_NOT_FOUND"


class ChallengeUsed(FailedPrecondition):
    """The challenge was used before."""

    reason = "CHALLENGE_USED"


class ChallengeMismatch(FailedPrecondition):
    """The challenge was made for another purpose, address or user."""

    reason = "CHALLENGE_MISMATCH"


class SignatureInvalid(Unauthenticated):
    """The signature is not the address owner's over the challenge's message."""

    reason = "SIGNATURE_INVALID"


class AddressInvalid(InvalidArgument):
    """The address is malformed, of another network, or of a kind that cannot log in."""

    reason = "ADDRESS_INVALID"


class SessionInvalid(Unauthenticated):
    """The session does not exist, has expired or was revoked."""

    reason = "SESSION_INVALID"


class RefreshTokenReused(Unauthenticated):
    """The refresh token was used before; the whole session is revoked."""

    reason = "REFRESH_TOKEN_REUSED"


class UserNotFound(NotFound):
    """No user has this id."""

    reason = "USER_NOT_FOUND"


class TooManyAttempts(Exhausted):
    """Too many attempts; try again later."""

    reason = "TOO_MANY_ATTEMPTS"


class NotYours(PermissionDenied):
    """The session belongs to another user."""

    reason = "NOT_YOURS"


class NameInvalid(InvalidArgument):
    """The name is taken or has characters that are not allowed."""

    reason = "NAME_INVALID"
