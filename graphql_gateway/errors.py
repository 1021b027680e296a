"""How failures look in GraphQL: a stable `extensions.code`, the service that failed, and what a program may
need.

A failure of a service keeps its reason as the code and its metadata. Anything else is a fault of ours:
clients get INTERNAL and an id under which the log tells more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphql import GraphQLError
from opentelemetry import trace
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from mesh import logs
from mesh.errors import Failure, RemoteFailure
from mesh.ids import uuid7
from mesh.telemetry import ERRORS

log = logs.logger(__name__)

# Errors of the request itself (syntax, validation, variables) come from graphql-core without an original
# error.
REQUEST_CODE = "BAD_REQUEST"
INTERNAL_CODE = "INTERNAL"
# What else a document can be wrong with before it is executed, such as numbers of thousands of digits.
REQUEST_PROBLEMS = (ValueError, MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)


def extensions_of(failure: Failure) -> dict[str, Any]:
    """What `errors[].extensions` says of a failure."""
    told: dict[str, Any] = {"code": failure.reason, "status": str(failure.code)}
    if isinstance(failure, RemoteFailure):
        # The domain is the service's own word; without an answer there is only the method that was called.
        told["service"] = (
            (failure.domain or failure.method.lstrip("/")).removeprefix("satreel.").split(".")[0]
        )
    if failure.metadata:
        told["metadata"] = dict(failure.metadata)
    if failure.violations:
        told["violations"] = [{"field": one.field, "rule": one.description} for one in failure.violations]
    return told


def is_fault(problem: BaseException) -> bool:
    """Whether it is a mistake on our side that clients are not told about."""
    if isinstance(problem, RemoteFailure):
        return problem.is_fault
    return not isinstance(problem, Failure)


def tells_of_fault(error: GraphQLError) -> bool:
    """Whether a rendered error says that something of ours is broken or away."""
    told = error.extensions or {}
    return told.get("code") == INTERNAL_CODE or told.get("status") in ERRORS


def masked(problem: BaseException, **about: Any) -> tuple[str, dict[str, Any]]:
    """Logs a fault; gives the message and extensions that clients see instead: the id finds it in the log."""
    span = trace.get_current_span().get_span_context()
    error_id = f"{span.trace_id:032x}" if span.is_valid else uuid7()
    log.error("a request failed", error_id=error_id, exc_info=problem, **about)
    return "Something went wrong on our side.", {"code": INTERNAL_CODE, "errorId": error_id}


def in_order(errors: Iterable[GraphQLError]) -> list[GraphQLError]:
    """By their paths, whichever came to be known first: one failure looks alike each time."""
    return sorted(errors, key=lambda error: [(isinstance(key, str), key) for key in error.path or ()])


def rendered(error: GraphQLError, *, before_execution: bool = False) -> GraphQLError:
    """The error as clients see it."""
    cause = _cause(error)
    if before_execution and isinstance(cause, RecursionError):
        return _like(error, "The document is nested too deeply.", {"code": REQUEST_CODE})
    if cause is None or (before_execution and isinstance(cause, REQUEST_PROBLEMS)):
        return _like(error, error.message, {"code": REQUEST_CODE, **(error.extensions or {})})
    if isinstance(cause, Failure) and not is_fault(cause):
        return _like(error, cause.message, extensions_of(cause))
    return _like(error, *masked(cause, path=error.path))


def _cause(error: GraphQLError) -> BaseException | None:
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _like(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(
        message=message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
