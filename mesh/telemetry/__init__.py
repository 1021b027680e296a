"""Traces and metrics over OpenTelemetry: every call has a trace id; a collector, if one is set, gets them.

    with telemetry.tracer.start_as_current_span("title.transfer", kind=SpanKind.CONSUMER, links=links): ...
    with telemetry.tracer.outgoing("GET", {"server.address": "whatsonchain"}): ...
    _sold = telemetry.counter("market.sales", "Titles sold.", unit="{sale}", by=("kind",))

Spans and metrics hold ids and names, never amounts, addresses, tokens, texts of users or of exceptions.
"""

from __future__ import annotations

from mesh.telemetry.carrying import PROPAGATOR, carried, context_of
from mesh.telemetry.causes import links_to, note_cause, traceparents_of
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
from mesh.telemetry.spans import ERRORS, Span, Teller, keep_way
from mesh.telemetry.tracing import Tracer

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
    "traceparents_of",
    "tracer",
    "up_down",
    "watch_loop",
]
