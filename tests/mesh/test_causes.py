"""Work that is done later links to what ordered it."""

from __future__ import annotations

import pytest

from mesh import telemetry
from mesh.telemetry import causes


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "_causes", {})


def test_who_ordered_first_is_linked_once() -> None:
    with telemetry.tracer.start_as_current_span("asks") as first:
        telemetry.note_cause("a")
        telemetry.note_cause("b")
    with telemetry.tracer.start_as_current_span("asks again") as second:
        telemetry.note_cause("a")
        telemetry.note_cause("c")
    linked = [link.context.span_id for link in telemetry.links_to(["a", "b", "c", "unknown"])]
    assert linked == [first.context.span_id, second.context.span_id]


def test_a_record_keeps_its_causes_over_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    with telemetry.tracer.start_as_current_span("asks") as asks:
        telemetry.note_cause("a")
    kept = telemetry.traceparents_of(["a", "unknown"])
    monkeypatch.setattr(causes, "_causes", {})
    (link,) = telemetry.links_to(["a"], kept)
    assert (link.context.trace_id, link.context.span_id) == (asks.context.trace_id, asks.context.span_id)
    # What cannot be read is no link.
    assert telemetry.links_to([], ["", "00-what"]) == []


def test_outside_of_a_trace_nothing_is_noted_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry.note_cause("a")
    assert telemetry.links_to(["a"]) == []
    monkeypatch.setattr(causes, "CAUSES_MAX", 2)
    with telemetry.tracer.start_as_current_span("asks"):
        for job in "abc":
            telemetry.note_cause(job)
    assert telemetry.links_to(["a"]) == []
    assert len(telemetry.links_to(["b", "c"])) == 1
