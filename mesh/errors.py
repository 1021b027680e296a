"""The one error that crosses everything: a gRPC code, a reason that a program can tell apart, and details.

Domain code raises subclasses of `Failure`; the server renders them as google.rpc.Status with an ErrorInfo;
a client gets them back as `RemoteFailure`; the gateway renders them as GraphQL errors. Nothing here imports
gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple


class Code(StrEnum):
    """The gRPC status codes, by name."""

    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


class FieldViolation(NamedTuple):
    """One field of a request that breaks a rule."""

    field: str
    description: str


class Failure(Exception):  # noqa: N818 - a failure is an answer, as much as a result is
    """Something expected went wrong; subclasses say what, with `code` and `reason`.

    `message` is for people (default: the first line of the subclass's docstring), `metadata` for programs;
    both reach the caller, so neither may hold a secret.
    """

    code: Code = Code.INTERNAL
    reason: str = "INTERNAL"
    violations: tuple[FieldViolation, ...] = ()

    def __init__(self, message: str = "", **metadata: object) -> None:
        self.message = message or (type(self).__doc__ or self.reason).partition("\n")[0]
        self.metadata = {name: str(value) for name, value in metadata.items()}
        super().__init__(self.message)


class InvalidArgument(Failure):
    """The request breaks a rule of its contract."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(
        self, message: str = "", *, violations: Sequence[FieldViolation] = (), **metadata: object
    ) -> None:
        super().__init__(message, **metadata)
        self.violations = tuple(violations)


class NotFound(Failure):
    """There is no such thing."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class IdReused(Failure):
    """The id was used before with another body."""

    code = Code.ALREADY_EXISTS
    reason = "ID_REUSED"


class Unauthenticated(Failure):
    """The call needs a valid sign-in."""

    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class PermissionDenied(Failure):
    """The caller may not do this."""

    code = Code.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class CallerNotAllowed(Failure):
    """The calling service may not call this method."""

    code = Code.PERMISSION_DENIED
    reason = "CALLER_NOT_ALLOWED"


class FailedPrecondition(Failure):
    """The state of the system does not allow this now."""

    code = Code.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class Aborted(Failure):
    """A concurrent change got in the way; the whole operation may be tried again."""

    code = Code.ABORTED
    reason = "ABORTED"


class Exhausted(Failure):
    """A limit is reached; try again later."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "EXHAUSTED"


class Overloaded(Exhausted):
    """The service has as many calls as it can bear."""

    reason = "OVERLOADED"


class Unavailable(Failure):
    """Something this needs is away; try again later."""

    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"


# Reason of an instance that does not lead, and finds it out after the call has come: another leads, or will.
NOT_LEADER = "NOT_LEADER"


class DeadlineExceeded(Failure):
    """The time given to the call is over."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


# After these the other side may or may not have done what was asked.
OUTCOME_UNKNOWN = frozenset(
    {Code.CANCELLED, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS}
)


class RemoteFailure(Failure):
    """Another service answered a call with a failure, or did not answer.

    `domain` names the service that failed ("satreel.ledger"); `reason` is its reason, or the code's name when
    the failure came from the transport. `unsent`: the call has reached no instance of it, as an Envoy on the
    way says. Left uncaught in a servicer, it is passed on to the caller as it is, unless it tells of a fault
    of ours (`is_fault`).
    """

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        *,
        domain: str = "",
        method: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        unsent: bool = False,
    ) -> None:
        super().__init__(message or reason)
        self.code = code
        self.reason = reason
        self.domain = domain
        self.method = method
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.unsent = unsent

    def __str__(self) -> str:
        return f"{self.method} {self.code} {self.reason}: {self.message}"

    @property
    def outcome_unknown(self) -> bool:
        """Whether the command may have been carried out all the same."""
        return self.code in OUTCOME_UNKNOWN and not self.unsent

    @property
    def is_fault(self) -> bool:
        """Whether it tells of a mistake on our side, which our own caller should not hear about."""
        faults = {Code.INTERNAL, Code.UNKNOWN, Code.UNIMPLEMENTED, Code.DATA_LOSS}
        return self.code in faults or self.reason == CallerNotAllowed.reason
