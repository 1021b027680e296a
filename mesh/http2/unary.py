"""A read on a connection of ours, and what its end means."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from mesh.contracts import MethodContract
from mesh.errors import Code, RemoteFailure
from mesh.http2 import frames
from mesh.http2.calls import Answer, Broken, Reset, TooLong, Unsent
from mesh.http2.pool import Pool
from mesh.status import DETAILS_KEY, UNSENT_KEY, remote_failure

# A read that was not made here, or is to be made again: it goes by the gRPC channel.
NOT_MADE = object()
_CODES = {str(code.value[0]): Code(code.name) for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
# Of HTTP/2's errors and of HTTP's statuses, as gRPC's documents read them.
_RESET = {frames.CANCEL: Code.CANCELLED, frames.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED}
_HTTP = {
    "400": Code.INTERNAL,
    "401": Code.UNAUTHENTICATED,
    "403": Code.PERMISSION_DENIED,
    "404": Code.UNIMPLEMENTED,
    "429": Code.UNAVAILABLE,
    "502": Code.UNAVAILABLE,
    "503": Code.UNAVAILABLE,
    "504": Code.UNAVAILABLE,
}


async def unary(
    pool: Pool,
    contract: MethodContract,
    message: bytes,
    fields: bytes,
    *,
    timeout_s: float,
    parse: Callable[[bytes], Any],
    said: dict[str, str] | None,
) -> Any:
    """The answer; or NOT_MADE, when no connection takes the call, or its server or connection was lost.

    `fields` are its metadata as a piece of a header block; `said` is filled with what the server says ahead.
    Raises RemoteFailure.
    """
    connection = pool.pick(len(message))
    if connection is None:
        return NOT_MADE
    try:
        answer = await connection.ask(contract.path, fields, message, timeout_s)
    except (Unsent, Broken):
        return NOT_MADE
    except (Reset, TooLong, TimeoutError) as problem:
        raise _without_answer(problem, contract) from None
    if said is not None:
        said.update({name: value for name, value in answer.ahead.items() if not name.startswith(":")})
    if answer.behind.get("grpc-status") == "0":
        return _message_in(answer.framed, parse, contract)
    failure = _failure_in(answer, contract)
    if failure.code is Code.UNAVAILABLE and not failure.unsent:
        return NOT_MADE
    raise failure


def _without_answer(problem: Exception, contract: MethodContract) -> RemoteFailure:
    match problem:
        case Reset(code=code):
            told = f"the server reset the call with code {code}"
            return _failure(_RESET.get(code, Code.INTERNAL), told, contract)
        case TooLong():
            return _failure(Code.RESOURCE_EXHAUSTED, "the answer is too large", contract)
    return _failure(Code.DEADLINE_EXCEEDED, "Deadline Exceeded", contract)


def _message_in(framed: bytes, parse: Callable[[bytes], Any], contract: MethodContract) -> Any:
    # Not compressed, as we did not say that we can read that; and one message alone.
    if len(framed) < 5 or framed[0] or int.from_bytes(framed[1:5], "big") != len(framed) - 5:
        raise _failure(Code.INTERNAL, "the answer is no message", contract)
    try:
        return parse(framed[5:])
    except DecodeError as problem:
        raise _failure(Code.INTERNAL, str(problem), contract) from problem


def _failure_in(answer: Answer, contract: MethodContract) -> RemoteFailure:
    status = answer.behind.get("grpc-status")
    if status is None:
        http = answer.ahead.get(":status", "")
        code = Code.INTERNAL if http == "200" else _HTTP.get(http, Code.UNKNOWN)
        return _failure(code, f"an answer of HTTP status {http} without one of gRPC", contract)
    details = answer.behind.get(DETAILS_KEY, "")
    try:
        read = b64decode(details + "=" * (-len(details) % 4), validate=True)
        told = unquote(answer.behind.get("grpc-message", ""))
        unsent = UNSENT_KEY in answer.behind
        return remote_failure(
            _CODES.get(status, Code.UNKNOWN), told, read, method=contract.path, unsent=unsent
        )
    except (ValueError, DecodeError):
        return _failure(Code.INTERNAL, "a status whose details cannot be read", contract)


def _failure(code: Code, message: str, contract: MethodContract) -> RemoteFailure:
    return RemoteFailure(code, code.name, message, method=contract.path)
