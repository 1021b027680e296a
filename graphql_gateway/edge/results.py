"""Results as JSON, and the HTTP answer that fits one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import orjson
from aiohttp import web
from graphql import GraphQLError
from graphql.execution import InitialIncrementalExecutionResult, SubsequentIncrementalExecutionResult
from strawberry.types.execution import ExecutionResult, PreExecutionError

from graphql_gateway.edge.negotiation import GRAPHQL_RESPONSE
from graphql_gateway.errors import INTERNAL_CODE, in_order, rendered

# One whole result, or a piece of an incremental one.
Result: TypeAlias = ExecutionResult | InitialIncrementalExecutionResult | SubsequentIncrementalExecutionResult


R = TypeVar("R", ExecutionResult, SubsequentIncrementalExecutionResult)


@dataclass
class Told(ExecutionResult):
    """An answer to an event that many hear: its errors are shown in it, and it is JSON already."""

    data: None = None
    errors: None = None
    payload: bytes = b""


def with_errors_shown(result: R) -> R:
    """A result, or a piece of one, with its errors as clients see them."""
    if isinstance(result, SubsequentIncrementalExecutionResult):
        for piece in (*(result.incremental or ()), *(result.completed or ())):
            piece.errors = [rendered(error) for error in in_order(piece.errors)] if piece.errors else None
    elif result.errors:
        early = isinstance(result, PreExecutionError)
        result.errors = [rendered(error, before_execution=early) for error in in_order(result.errors)]
    return result


def payload_of(result: Result) -> bytes:
    """JSON of a result. A request that was not carried out has no `data` at all, not even null."""
    if not isinstance(result, Told):
        return orjson.dumps(_told(result))
    if result.extensions:
        # They are this subscriber's own.
        return b'%b,"extensions":%b}' % (result.payload[:-1], orjson.dumps(result.extensions))
    return result.payload


def errors_of(result: Result) -> bytes:
    """JSON of the list of a result's errors."""
    return orjson.dumps(_told(result)["errors"])


def was_refused(result: Result) -> bool:
    """Whether nothing was executed: a "request error" of the GraphQL specification; or events broke off.

    Errors of execution say in which field they happened; those of variables and sources cannot.
    """
    if not isinstance(result, ExecutionResult) or result.data is not None or not result.errors:
        return False
    return isinstance(result, PreExecutionError) or all(error.path is None for error in result.errors)


def answer(result: ExecutionResult, media_type: str) -> web.Response:
    """The answer over HTTP.

    By application/graphql-response+json the status tells whether the request was carried out; by
    application/json only whether it was a GraphQL request, as older clients do not read the body else.
    """
    status = 200
    if was_refused(result):
        if any(_is_internal(error) for error in result.errors or ()):
            status = 500
        elif media_type == GRAPHQL_RESPONSE:
            status = 400
    return json_answer(payload_of(result), media_type, status=status)


def json_answer(body: bytes, media_type: str, *, status: int = 200) -> web.Response:
    """JSON is UTF-8; saying so helps old readers, and the specification recommends it."""
    return web.Response(body=body, status=status, headers={"Content-Type": f"{media_type}; charset=utf-8"})


def _told(result: Result) -> dict[str, Any]:
    if not isinstance(result, ExecutionResult):
        return {**result.formatted}
    told: dict[str, Any] = {}
    if result.errors:
        told["errors"] = [error.formatted for error in result.errors]
    if not was_refused(result):
        told["data"] = result.data
    if result.extensions:
        told["extensions"] = result.extensions
    return told


def _is_internal(error: GraphQLError) -> bool:
    return (error.extensions or {}).get("code") == INTERNAL_CODE
