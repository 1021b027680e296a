"""Parts that run around a whole call: telemetry, failures, the end of streams."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from asyncio import CancelledError
from typing import Any

import grpc
from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from mesh import logs, telemetry
from mesh.errors import Code, Failure, RemoteFailure, Unavailable
from mesh.interceptors.leading import NotBegun
from mesh.interceptors.pipeline import IncomingCall, Proceed
from mesh.status import NOT_BEGUN, domain_of, to_status

log = logs.logger(__name__)
# What is not logged shall cost nothing.
_level = logging.getLogger(__name__)

_duration = telemetry.durations(
    "rpc.server.call.duration",
    "Time from the arrival of a call to its end.",
    by=("rpc.system.name", "rpc.method", "rpc.response.status_code"),
)
_NEW_TRACE = trace_context.Context()


class Internal(Failure):
    """Something went wrong inside the service; the error id finds it in the logs."""


async def measured(call: IncomingCall, request: Any, proceed: Proceed) -> Any:
    """A span that joins the caller's trace, the duration by method and code, a debug line in the log."""
    began = time.perf_counter()
    begun = call.metadata.get("traceparent")
    parent = telemetry.PROPAGATOR.extract({"traceparent": str(begun)}) if begun else _NEW_TRACE
    span = telemetry.tracer.start_span(
        call.contract.span_name, parent, SpanKind.SERVER, call.contract.attributes
    )
    span.lasts = call.contract.streams
    # By hand: Python's context managers would cost each call more than the rest of its span.
    current = trace_context.attach(trace.set_span_in_context(span, parent))
    try:
        return await proceed(call, request)
    except CancelledError:
        call.code = Code.CANCELLED
        raise
    finally:
        took_s = time.perf_counter() - began
        span.set_attribute("rpc.response.status_code", call.code)
        if call.code in telemetry.ERRORS:
            span.failed(call.code)
        _duration.record(took_s, call.contract.attributes_with(call.code))
        if _level.isEnabledFor(logging.DEBUG):
            log.debug(
                "call",
                method=call.contract.path,
                caller=call.caller.service,
                code=call.code,
                duration_s=round(took_s, 6),
            )
        trace_context.detach(current)
        span.end()


async def failures_rendered(call: IncomingCall, request: Any, proceed: Proceed) -> Any:
    """Ends the call with google.rpc.Status for a Failure, and with a masked INTERNAL for anything else."""
    try:
        return await proceed(call, request)
    except grpc.aio.AbortError:
        call.code = Code.UNKNOWN
        raise
    except Exception as problem:
        failure = _as_failure(problem, call)
        call.code = failure.code
        status = to_status(failure, domain=domain_of(call.contract.service))
        behind = NOT_BEGUN if isinstance(failure, NotBegun) else ()
        await call.context.abort(status.code, status.details, (*status.trailing_metadata, *behind))


def _as_failure(problem: Exception, call: IncomingCall) -> Failure:
    # A task group wraps what its tasks raise, even if it is one thing.
    while isinstance(problem, ExceptionGroup) and len(problem.exceptions) == 1:
        problem = problem.exceptions[0]
    if isinstance(problem, Failure) and not (isinstance(problem, RemoteFailure) and problem.is_fault):
        return problem
    error_id = secrets.token_hex(8)
    log.error("call failed", method=call.contract.path, error_id=error_id, exc_info=problem)
    return Internal(error_id=error_id)


class Stopping(Unavailable):
    """The server is stopping; another one will answer."""

    reason = "STOPPING"


class OpenStreams:
    """Ends answering streams when the server stops: their callers would hold them for ever."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()
        self._ended = False

    async def __call__(self, call: IncomingCall, request: Any, proceed: Proceed) -> Any:
        """Keeps the stream in reach of `end`. Raises Stopping once that was called."""
        task = asyncio.current_task() if call.contract.answers_many else None
        if task is None:
            return await proceed(call, request)
        if self._ended:
            raise Stopping
        self._open.add(task)
        try:
            return await proceed(call, request)
        except CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise Stopping from None
        finally:
            self._open.discard(task)
            self._cut.discard(task)

    def end(self) -> None:
        """Ends all streams, now and from now on."""
        self._ended = True
        self._cut = set(self._open)
        for task in self._cut:
            task.cancel()
