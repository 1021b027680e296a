"""Tracing: spans begin under the current one or another, and traces that begin here are sampled or not."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.util.types import AttributeValue

from mesh.errors import Failure
from mesh.telemetry.spans import LINKS_MAX, Span, Teller, is_fault

_RATIO_PARTS = 1_000_000
_SAMPLED, _NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)
_NONE: Mapping[str, AttributeValue] = {}


class Tracer(trace.Tracer):
    """Begins spans. Without a teller they are ids for the logs, and nothing else."""

    def __init__(self) -> None:
        self._teller: Teller | None = None
        self._chosen_below = _RATIO_PARTS
        self._trusts_callers = True

    @property
    def is_on(self) -> bool:
        """Whether there is anybody to tell."""
        return self._teller is not None

    def tell(self, teller: Teller | None, *, ratio: float = 1.0, trusts_callers: bool = True) -> None:
        """Sets where spans go. Of traces begun here, or by callers not trusted, `ratio` are sampled.

        Also without a teller: those behind may have one, and follow who begins.
        """
        self._teller = teller
        self._chosen_below = round(ratio * _RATIO_PARTS)
        self._trusts_callers = trusts_callers

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = None,
        *_: Any,
        **__: Any,
    ) -> Span:
        """A span under the current one, or that of `context`."""
        within = trace.get_current_span(context)
        parent = within.get_span_context()
        if parent.is_valid:
            trace_id, state = parent.trace_id, parent.trace_state
            sampled = self._follows(parent)
        else:
            trace_id, state = random.getrandbits(128) or 1, None
            sampled = self._is_chosen(trace_id)
        own = SpanContext(
            trace_id, random.getrandbits(64) or 1, False, _SAMPLED if sampled else _NOT_SAMPLED, state
        )
        return Span(
            self._teller, own, within, name, kind, attributes or _NONE, tuple(links or ())[:LINKS_MAX]
        )

    def _follows(self, parent: SpanContext) -> bool:
        if not parent.trace_flags.sampled:
            return False
        if self._trusts_callers or not parent.is_remote:
            return True
        return self._is_chosen(parent.trace_id)

    def _is_chosen(self, trace_id: int) -> bool:
        """As Envoy chooses (by its first eight bytes, little end first), so that edge and gateway agree."""
        known = int.from_bytes(trace_id.to_bytes(16)[:8], "little")
        return known % _RATIO_PARTS < self._chosen_below

    def start_as_current_span(  # type: ignore[override] # noqa: PLR0917 - the interface's own decorator is private
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = None,
        start_time: int | None = None,  # noqa: ARG002 - as overridden
        record_exception: bool = True,  # noqa: ARG002 - as overridden
        set_status_on_exception: bool = True,
        *_: Any,
        **__: Any,
    ) -> Current:
        """A span that a `with` block is in; it fails with what the block raises, unless told not to."""
        return Current(
            self.start_span(name, context, kind, attributes, links), context, set_status_on_exception
        )

    def outgoing(
        self, name: str, attributes: Mapping[str, AttributeValue], kind: SpanKind = SpanKind.CLIENT
    ) -> Current | Unseen:
        """A span around a call to what has no spans of its own, outside the mesh; a part of a trace only."""
        if self._teller is None or not trace.get_current_span().get_span_context().is_valid:
            return Unseen()
        return Current(self.start_span(name, None, kind, attributes), None, True)

    def for_many(self, name: str, askers: Iterable[trace.Span]) -> Current | Unseen:
        """A span around work for all who ask: under one, a sampled one if there is; linked to others."""
        if self._teller is None:
            return Unseen()
        known = [one for one in askers if one.get_span_context().is_valid]
        if not known:
            return Unseen()
        sampled = [one for one in known if one.get_span_context().trace_flags.sampled]
        within = sampled[0] if sampled else known[0]
        links = [Link(one.get_span_context()) for one in sampled[1 : LINKS_MAX + 1]]
        here = trace.set_span_in_context(within, Context())
        return Current(self.start_span(name, here, links=links), here, True)


class Current:
    """A `with` block that is in a span."""

    __slots__ = ("_context", "_fails", "_token", "span")

    def __init__(self, span: Span, context: Context | None, fails: bool) -> None:
        self.span = span
        self._context = context
        self._fails = fails

    def __enter__(self) -> Span:
        self._token = contexts.attach(trace.set_span_in_context(self.span, self._context))
        return self.span

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, _: TracebackType | None
    ) -> None:
        contexts.detach(self._token)
        if self._fails and isinstance(problem, Exception) and is_fault(problem):
            self.span.failed(problem.reason if isinstance(problem, Failure) else type(problem).__name__)
        self.span.end()

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace_: TracebackType | None
    ) -> None:
        self.__exit__(kind, problem, trace_)


class Unseen:
    """A `with` block that nobody would look at."""

    __slots__ = ()

    def __enter__(self) -> trace.Span:
        return INVALID_SPAN

    def __exit__(self, *_: object) -> None:
        return None

    async def __aenter__(self) -> trace.Span:
        return INVALID_SPAN

    async def __aexit__(self, *_: object) -> None:
        return None
