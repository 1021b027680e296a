"""What caused work that is done later: remembered by the id of the job, for as long as there is room.

In memory: after a crash a job is done all the same, and its trace links to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext

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


def links_to(jobs: Iterable[str]) -> list[Link]:
    """Links to those who ordered these jobs, where that is known."""
    found = {one.span_id: Link(one) for job in jobs if (one := _causes.get(job)) is not None}
    return list(found.values())[:LINKS_MAX]
