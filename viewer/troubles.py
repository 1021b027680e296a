"""Spans of what failed or was slow at an edge in traces that are not kept: Envoy tells it as logs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from viewer.reading import FAULTS, FUTURE_NS, SPAN_BYTES, TRACE_BYTES, attributes, text
from viewer.store import Span

# What Envoy says where there is nothing to say.
_NOTHING = "-"
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_MICROSECONDS = re.compile(r"[0-9]{1,15}")


def spans_of(request: Any) -> Iterator[Span]:
    """Of an ExportLogsServiceRequest, those that can be kept; logs of other kinds are left out."""
    for group in request.resource_logs:
        service = text(attributes(group.resource.attributes).get("service.name") or "unknown")
        for record in (record for scope in group.scope_logs for record in scope.log_records):
            if span := _span(record, service):
                yield span


def _span(record: Any, service: str) -> Span | None:
    told = {name: value for name, value in attributes(record.attributes).items() if value != _NOTHING}
    took_us, traceparent = str(told.pop("duration_us", "")), str(told.pop("traceparent", ""))
    if len(record.trace_id) != TRACE_BYTES or len(record.span_id) != SPAN_BYTES:
        return None
    if told.get("component") != "proxy" or not _MICROSECONDS.fullmatch(took_us):
        return None
    began = record.time_unix_nano
    ended = began + 1_000 * int(took_us)
    if not 0 < began <= ended <= time.time_ns() + FUTURE_NS:
        return None
    trace, own, parent = record.trace_id.hex(), record.span_id.hex(), ""
    if (named := _TRACEPARENT.fullmatch(traceparent)) and named[1] == trace:
        # As whom the next in line was called; where nobody was, the client's.
        own, parent = (named[2], "") if "upstream_address" in told else (own, named[2])
    failed = told.get("grpc.status_code") in FAULTS or str(told.get("http.status_code")).startswith("5")
    return Span(
        trace=trace,
        span=own,
        parent=parent,
        service=service,
        name=text(record.body.string_value),
        kind="server",
        began_ns=began,
        ended_ns=ended,
        failed=failed,
        attributes={**told, "satreel.kept": "error" if failed else "slow"},
    )
