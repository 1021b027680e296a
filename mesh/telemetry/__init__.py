"""Traces and metrics over OpenTelemetry: every call has a trace id; a collector, if one is set, gets them.

    with telemetry.tracer.start_as_current_span("title.transfer", kind=SpanKind.CONSUMER, links=links): ...
    with telemetry.tracer.outgoing("GET", {"server.address": "whatsonchain"}): ...
    _sold = telemetry.counter("market.sales", "Titles sold.", unit="{sale}", by=("kind",))

Spans and metrics hold ids and names, never amounts, addresses, tokens, texts of users or of exceptions.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mesh.telemetry.causes import links_to, note_cause
from mesh.telemetry.exporting import CLOSE_S, Telemetry, start, tracer
from mesh.telemetry.instruments import (
    DECLARED,
    DURATION_BUCKETS_S,
    Kind,
    Metric,
    counter,
    durations,
    gauge,
    observed,
    up_down,
)
from mesh.telemetry.process import watch_loop
from mesh.telemetry.spans import ERRORS, Span, Teller, Tracer, keep_way

__all__ = [
    "CLOSE_S",
    "DECLARED",
    "DURATION_BUCKETS_S",
    "ERRORS",
    "PROPAGATOR",
    "Kind",
    "Metric",
    "Span",
    "Telemetry",
    "Teller",
    "Tracer",
    "carried",
    "context_of",
    "counter",
    "durations",
    "gauge",
    "keep_way",
    "links_to",
    "note_cause",
    "observed",
    "start",
    "tracer",
    "up_down",
    "watch_loop",
]

PROPAGATOR: TextMapPropagator = TraceContextTextMapPropagator()


def carried(known: SpanContext) -> dict[str, str]:
    """What tells another process of the trace that a span is in: fields of a call's metadata."""
    if not known.is_valid:
        return {}
    if known.trace_state:
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier, trace.set_span_in_context(NonRecordingSpan(known), Context()))
        return carrier
    # As the propagator writes it, for a fifth of the time.
    return {"traceparent": f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"}


def context_of(traceparent: str) -> SpanContext:
    """The span that a `traceparent` names; an invalid one where it names none."""
    known = PROPAGATOR.extract({"traceparent": traceparent}, Context())
    return trace.get_current_span(known).get_span_context()
