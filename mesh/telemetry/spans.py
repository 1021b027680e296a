"""Spans: what a trace is made of, and which of them are told to the collector.

A trace is sampled or not where it begins, and everybody follows (`trace_flags`). Of traces that are not
sampled the way to trouble is told all the same: a span that failed or was slow, and whatever in this process
it stands under. Who waits for something slow is slow too, so those spans join into a trace, through all
processes; a failure is followed as far as it was passed on. Spans are small objects of our own that die with
the call unless they are told: nothing is buffered, and nothing can fill up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from mesh.errors import Code, Failure

# Codes that mark a span as an error, as OpenTelemetry's conventions say of servers: refusals are answers.
ERRORS = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.UNIMPLEMENTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)
# Spans of unsampled traces that are told in a second, at most: in an outage one learns no more from the rest.
KEPT_PER_S = 100
LINKS_MAX = 32

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("mesh")
_OK, _BROKEN = Status(), Status(StatusCode.ERROR)


class Teller:
    """Where spans go when they are over."""

    def __init__(self, tell: Callable[[ReadableSpan], None], identity: Resource, *, slow_s: float) -> None:
        self._tell = tell
        self._identity = identity
        self.slow_ns = int(slow_s * 1e9)
        self._second = 0
        self._left = 0

    def sampled(self, span: Span, ended_ns: int) -> None:
        """Tells a span whose trace is sampled."""
        self._tell(self._readable(span, span.context, span.attributes, ended_ns))

    def kept(self, span: Span, ended_ns: int, why: str) -> None:
        """Tells a span whose trace is not sampled, unless too many are told already; `why` stands in it."""
        second = ended_ns // 1_000_000_000
        if second != self._second:
            self._second, self._left = second, KEPT_PER_S
        if self._left <= 0:
            return
        self._left -= 1
        own = span.context
        context = SpanContext(own.trace_id, own.span_id, own.is_remote, _SAMPLED, own.trace_state)
        self._tell(self._readable(span, context, {**span.attributes, "satreel.kept": why}, ended_ns))

    def _readable(
        self, span: Span, context: SpanContext, attributes: Mapping[str, AttributeValue], ended_ns: int
    ) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=context,
            parent=span.parent,
            resource=self._identity,
            attributes=attributes,
            links=span.links,
            kind=span.kind,
            status=_BROKEN if span.is_broken else _OK,
            start_time=span.began_ns,
            end_time=ended_ns,
            instrumentation_scope=_SCOPE,
        )


class Span(trace.Span):
    """One piece of work, from `Tracer.start_span` to `end`."""

    def __init__(  # noqa: PLR0917 - of one caller, and on the way of every call
        self,
        teller: Teller | None,
        context: SpanContext,
        within: trace.Span,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue],
        links: Sequence[Link],
    ) -> None:
        self._teller = teller
        self._within = within
        self._attributes = attributes
        self._is_own = False
        self._kept = ""
        self.context = context
        self.name = name
        self.kind = kind
        self.links = links
        self.began_ns = time.time_ns()
        self.is_over = False
        self.is_broken = False
        # A stream, or a wait: long without being slow.
        self.lasts = False

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        """What is said of it."""
        return self._attributes

    @property
    def parent(self) -> SpanContext | None:
        """Under what it stands, here or elsewhere."""
        parent = self._within.get_span_context()
        return parent if parent.is_valid else None

    def end(self, end_time: int | None = None) -> None:
        """It is over; told if it shall be."""
        if self.is_over:
            return
        self.is_over = True
        if self._teller is None:
            return
        ended_ns = end_time or time.time_ns()
        if self.context.trace_flags.sampled:
            self._teller.sampled(self, ended_ns)
        elif why := self._why_kept(ended_ns, self._teller.slow_ns):
            self._teller.kept(self, ended_ns, why)
            keep_way(self._within)

    def _why_kept(self, ended_ns: int, slow_ns: int) -> str:
        if self.is_broken:
            return "error"
        if not self.lasts and ended_ns - self.began_ns >= slow_ns:
            return "slow"
        return self._kept

    def keep(self) -> None:
        """Something under it is told, so it is, too."""
        self._kept = "way"

    def failed(self, error_type: str) -> None:
        """It is an error of ours, of this kind (`error.type`)."""
        self.is_broken = True
        self.set_attribute("error.type", error_type)

    def get_span_context(self) -> SpanContext:
        """Its ids."""
        return self.context

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Says something of it."""
        if not self._is_own:
            # Those it was begun with may be shared.
            self._attributes, self._is_own = dict(self._attributes), True
        self._attributes[key] = value  # type: ignore[index] # ours since the line above

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Says more of it."""
        self._attributes, self._is_own = {**self._attributes, **attributes}, True

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """It has to do with another span, which it does not stand under."""
        if context.is_valid and len(self.links) < LINKS_MAX:
            self.links = (*self.links, Link(context, attributes))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Nothing: what happens on the way stands in the log, under the same ids."""

    def update_name(self, name: str) -> None:
        """Calls it otherwise."""
        self.name = name

    def is_recording(self) -> bool:
        """Whether anybody might hear of it."""
        return self._teller is not None and not self.is_over

    def set_status(self, status: Any, description: str | None = None) -> None:  # noqa: ARG002 - as overridden
        """Marks it as an error, if that is the status."""
        code = status.status_code if isinstance(status, Status) else status
        self.is_broken = code is StatusCode.ERROR

    def record_exception(self, exception: BaseException, *_: Any, **__: Any) -> None:
        """Its kind; its words may hold what no trace shall hold."""
        self.failed(type(exception).__name__)


def keep_way(within: trace.Span) -> None:
    """What leads to a span that is told is told, too, in this process."""
    if isinstance(within, Span):
        within.keep()


def is_fault(problem: Exception) -> bool:
    """Whether it tells of something broken or away; otherwise it is an answer."""
    return not isinstance(problem, Failure) or problem.code in ERRORS
