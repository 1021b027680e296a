"""A call to another service as traces and metrics have it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from mesh import telemetry
from mesh.contracts import MethodContract
from mesh.errors import Code, RemoteFailure

_duration = telemetry.durations(
    "rpc.client.call.duration",
    "Time a call to another service took, repetitions included; not of streams.",
    by=("rpc.system.name", "rpc.method", "rpc.response.status_code"),
)


class Measured:
    """Around a call: its span, and how long it took by method and code."""

    __slots__ = ("_began_s", "_contract", "_entered", "_span", "_timeout_s", "within")

    def __init__(self, contract: MethodContract, timeout_s: float) -> None:
        self._contract = contract
        self._timeout_s = timeout_s
        self._began_s = time.perf_counter()
        self._entered: Any = None
        self._span: telemetry.Span | None = None
        # The span that the call is made in.
        self.within = trace.get_current_span().get_span_context()

    @property
    def left_s(self) -> float:
        """Of the time that the call has."""
        return max(0.0, self._timeout_s - (time.perf_counter() - self._began_s))

    def __enter__(self) -> Self:
        # Without a collector the ids of the trace go along; a span of its own would be wasted.
        if telemetry.tracer.is_on or not self.within.is_valid:
            self._entered = telemetry.tracer.start_as_current_span(
                self._contract.span_name,
                kind=SpanKind.CLIENT,
                attributes=self._contract.attributes,
                record_exception=False,
                set_status_on_exception=False,
            )
            self._span = span = self._entered.__enter__()
            self.within = span.get_span_context()
        return self

    def __exit__(self, kind: object, problem: BaseException | None, traceback: object) -> None:
        code = "OK"
        if isinstance(problem, RemoteFailure):
            code = problem.code
        elif isinstance(problem, asyncio.CancelledError):
            code = Code.CANCELLED
        _duration.record(time.perf_counter() - self._began_s, self._contract.attributes_with(code))
        if self._span is not None:
            self._span.set_attribute("rpc.response.status_code", code)
            if code in telemetry.ERRORS:
                self._span.failed(code)
            self._entered.__exit__(kind, problem, traceback)
