"""What caused work that is done later: remembered by the id of the job, for as long as there is room.

In memory, until the job has a record of its own that keeps its causes (`traceparents_of`): what a crash takes
before is the link, never the job.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext

from mesh.telemetry.carrying import context_of, traceparent_of
from mesh.telemetry.spans import LINKS_MAX

CAUSES_MAX = 10_000

_causes: dict[str, SpanContext] = {}


def note_cause(job: str) -> None:
    """The current trace has ordered this job; who did so first counts."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid or job in _causes:
        return
    if len(_causes) >= CAUSES_MAX:
        del _causes[next(iter(_causes))]
    _causes[job] = here


def traceparents_of(jobs: Iterable[str]) -> tuple[str, ...]:
    """Who ordered these jobs, where that is known: for the record of the work."""
    return tuple(traceparent_of(one) for one in _ordered(jobs))


def links_to(jobs: Iterable[str], kept: Iterable[str] = ()) -> list[Link]:
    """Links to those who ordered these jobs, where that is known, and to those whom a record kept."""
    contexts = [*map(context_of, kept), *_ordered(jobs)]
    found = {one.span_id: Link(one) for one in contexts if one.is_valid}
    return list(found.values())[:LINKS_MAX]


def _ordered(jobs: Iterable[str]) -> list[SpanContext]:
    found = {one.span_id: one for job in jobs if (one := _causes.get(job)) is not None}
    return list(found.values())[:LINKS_MAX]
