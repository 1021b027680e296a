"""How failures look in GraphQL: a stable `extensions.code`, the service that failed, and what a program may need.

A failure of a service keeps its reason as the code and its metadata. Anything else is a fault of ours: clients get
INTERNAL and an id under which the log tells more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphql import ExecutionResult as CoreResult
from graphql import GraphQLError
from opentelemetry import trace
from strawberry.extensions import SchemaExtension
from strawberry.types.execution import ExecutionResult, StreamExecutionResult

from mesh import logs
from mesh.errors import Failure, RemoteFailure
from mesh.ids import uuid7

log = logs.logger(__name__)

# Errors of the request itself (syntax, validation, variables) come from graphql-core without an original error.
REQUEST_CODE = "BAD_REQUEST"
INTERNAL_CODE = "INTERNAL"


def extensions_of(failure: Failure) -> dict[str, Any]:
    """What `errors[].extensions` says of a failure."""
    told: dict[str, Any] = {"code": failure.reason, "status": str(failure.code)}
    if isinstance(failure, RemoteFailure) and failure.domain:
        told["service"] = failure.domain.removeprefix("satreel.")
    if failure.metadata:
        told["metadata"] = dict(failure.metadata)
    violations = getattr(failure, "violations", ())
    if violations:
        told["violations"] = [{"field": one.field, "rule": one.description} for one in violations]
    return told


def rendered(error: GraphQLError) -> GraphQLError:
    """The error as clients see it."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return _like(error, error.message, {"code": REQUEST_CODE, **(error.extensions or {})})
    if isinstance(cause, RemoteFailure) and cause.is_fault:
        return _masked(error, cause)
    if isinstance(cause, Failure):
        return _like(error, cause.message, extensions_of(cause))
    return _masked(error, cause)


def _masked(error: GraphQLError, cause: BaseException) -> GraphQLError:
    span = trace.get_current_span().get_span_context()
    error_id = f"{span.trace_id:032x}" if span.is_valid else uuid7()
    log.error("a resolver failed", error_id=error_id, path=error.path, exc_info=cause)
    return _like(error, "Something went wrong on our side.", {"code": INTERNAL_CODE, "errorId": error_id})


def _like(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(
        message=message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )


class RenderErrors(SchemaExtension):
    """Renders the errors of every result, of streams too."""

    def on_operation(self) -> Iterator[None]:
        """After the operation, before its result is sent."""
        self._streamed = False
        yield
        result = self.execution_context.result
        if not self._streamed and isinstance(result, CoreResult | ExecutionResult):
            _render_all(result)

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        """Before each result of a subscription is sent."""
        self._streamed = True
        _render_all(result)
        yield None


def _render_all(result: Any) -> None:
    if getattr(result, "errors", None):
        result.errors = [rendered(error) for error in result.errors]
