"""What can be seen of the gateway: a span per HTTP request or operation on a WebSocket, and durations.

Traces tell the type and name of an operation and how it ended; never its document, variables or who asked.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Self

from aiohttp import hdrs, web
from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from graphql_gateway.errors import REQUEST_PROBLEMS
from mesh import telemetry

NAME_CHARS_MAX = 64
UNNAMED_ROUTE = "(no such path)"
# Probes ask for it every few seconds.
_UNTRACED = {"/healthz"}
_METHODS = hdrs.METH_ALL
_NEW_TRACE = trace_context.Context()

_duration = telemetry.durations(
    "graphql.operation.duration",
    "Time from an operation's arrival to its result, or until a subscription is under way.",
    by=("graphql.operation.type", "outcome"),
)
_executed = telemetry.counter(
    "graphql.operations",
    "Operations by the way they were executed: by a plan, or why not.",
    unit="{operation}",
    by=("way", "reason"),
)
_requests = telemetry.up_down(
    "http.server.active_requests", "HTTP requests that wait for their answer.", unit="{request}"
)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Outcome(StrEnum):
    """How an operation ended."""

    OK = "ok"
    # It was answered with errors that are the client's to mend, or a rule's doing.
    REFUSED = "refused"
    # Something of ours is broken or away.
    FAILED = "failed"
    # The client did not wait for the result.
    LEFT = "left"


class Operation:
    """One operation on its way to its first result: the block that it is entered for."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._began_s = time.perf_counter()
        self.type = "unknown"
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        if isinstance(problem, Exception):
            self.over(Outcome.REFUSED if isinstance(problem, REQUEST_PROBLEMS) else Outcome.FAILED)
        self.over(Outcome.LEFT)

    def named(self, operation_type: str, name: str | None) -> None:
        """Its document is read: the span is called after it."""
        self.type = operation_type
        self._span.set_attribute("graphql.operation.type", operation_type)
        if name:
            name = name[:NAME_CHARS_MAX]
            self._span.set_attribute("graphql.operation.name", name)
        self._span.update_name(f"{operation_type} {name}" if name else operation_type)

    def costs(self, cost: float) -> None:
        """What it was found to cost: values of its answer, were all lists full, and calls."""
        self._span.set_attribute("graphql.cost", cost)

    def executed(self, way: str, why: str | None = None) -> None:
        """Its answer was made, or is to be made, this way; `why` it has no plan."""
        self._span.set_attribute("graphql.executed", way)
        if why is None:
            _executed.add(1, {"way": way})
        else:
            self._span.set_attribute("graphql.not_planned", why)
            _executed.add(1, {"way": way, "reason": why})

    def over(self, outcome: Outcome) -> None:
        """It has its result, or is a subscription that only waits for news; the first call counts."""
        if self._is_over:
            return
        self._is_over = True
        self._span.set_attribute("graphql.outcome", outcome)
        if outcome is Outcome.FAILED:
            self._span.set_status(StatusCode.ERROR)
            self._span.set_attribute("error.type", "failed")
        _duration.record(
            time.perf_counter() - self._began_s, {"graphql.operation.type": self.type, "outcome": outcome}
        )


def on_request() -> Operation:
    """An operation that is a whole HTTP request: it has that request's span."""
    return Operation(trace.get_current_span())


@contextmanager
def on_socket(extensions: Mapping[str, Any] | None = None) -> Iterator[Operation]:
    """An operation of a connection that carries many: in the trace that its extension says, or its own."""
    begun = (extensions or {}).get("traceparent")
    parent = telemetry.PROPAGATOR.extract({"traceparent": begun}) if isinstance(begun, str) else None
    with (
        telemetry.tracer.start_as_current_span(
            "graphql",
            parent,
            SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
        Operation(span) as operation,
    ):
        yield operation


@web.middleware
async def traced(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Around every HTTP request: a span that joins the client's trace. Not for connections that last."""
    if request.path in _UNTRACED or _lasts(request):
        return await handler(request)
    method = request.method if request.method in _METHODS else "_OTHER"
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else UNNAMED_ROUTE
    begun = request.headers.get("traceparent")
    parent = telemetry.PROPAGATOR.extract({"traceparent": begun}) if begun else _NEW_TRACE
    span = telemetry.tracer.start_span(
        f"{method} {route}",
        parent,
        SpanKind.SERVER,
        {"http.request.method": method, "http.route": route},
    )
    _requests.add(1)
    # By hand: Python's context managers would cost each request more than the rest of its span.
    current = trace_context.attach(trace.set_span_in_context(span, parent))
    try:
        response = await handler(request)
    except web.HTTPException as redirect:
        span.set_attribute("http.response.status_code", redirect.status)
        raise
    else:
        span.set_attribute("http.response.status_code", response.status)
        if response.status >= 500:
            span.failed(str(response.status))
        return response
    finally:
        _requests.add(-1)
        trace_context.detach(current)
        span.end()


def _lasts(request: web.Request) -> bool:
    """WebSockets and event streams: their operations are traced one by one."""
    is_socket = request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
    return is_socket or "text/event-stream" in request.headers.get(hdrs.ACCEPT, "")
