"""Which spans are told: those of sampled traces, and of others the way to trouble, within bounds."""

from __future__ import annotations

import time

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN

from mesh.errors import InvalidArgument, Unavailable
from mesh.telemetry import PROPAGATOR, Teller, Tracer
from mesh.telemetry.spans import KEPT_PER_S, LINKS_MAX

# Longer than any of these spans takes by itself.
SLOW_S = 60.0


@pytest.fixture
def told() -> list[ReadableSpan]:
    return []


def tracer_of(
    told: list[ReadableSpan], ratio: float, *, trusts: bool = True, slow_s: float = SLOW_S
) -> Tracer:
    tracer = Tracer()
    teller = Teller(told.append, Resource({}), slow_s=slow_s)
    tracer.tell(teller, ratio=ratio, trusts_callers=trusts)
    return tracer


def names(told: list[ReadableSpan]) -> dict[str, object]:
    return {span.name: (span.attributes or {}).get("satreel.kept") for span in told}


def test_all_of_a_sampled_trace_and_nothing_of_another(told: list[ReadableSpan]) -> None:
    for ratio, expected in ((1.0, {"root": None, "below": None}), (0.0, {})):
        told.clear()
        tracer = tracer_of(told, ratio)
        with tracer.start_as_current_span("root"), tracer.start_as_current_span("below"):
            pass
        assert names(told) == expected


def test_a_failure_is_told_with_the_way_to_it(told: list[ReadableSpan]) -> None:
    tracer = tracer_of(told, 0.0)
    with tracer.start_as_current_span("root"):
        with tracer.start_as_current_span("fine"):
            pass
        with pytest.raises(Unavailable), tracer.start_as_current_span("fails"):
            raise Unavailable
    assert names(told) == {"fails": "error", "root": "way"}
    assert dict(told[0].attributes or {})["error.type"] == Unavailable.reason
    assert len({span.context.trace_id for span in told if span.context}) == 1
    assert all(span.context and span.context.trace_flags.sampled for span in told)


def test_a_refusal_is_an_answer_and_a_stream_is_not_slow(told: list[ReadableSpan]) -> None:
    tracer = tracer_of(told, 0.0)
    with pytest.raises(InvalidArgument), tracer.start_as_current_span("refuses"):
        raise InvalidArgument
    stream = tracer.start_span("stream")
    stream.lasts = True
    call = tracer.start_span("call")
    for span in (stream, call):
        span.end(time.time_ns() + int(SLOW_S * 1e9))
    assert names(told) == {"call": "slow"}


def test_strangers_do_not_decide(told: list[ReadableSpan]) -> None:
    begun = PROPAGATOR.extract({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, Context())
    tracer_of(told, 0.0, trusts=False).start_span("stranger", begun).end()
    assert not told
    tracer_of(told, 0.0).start_span("friend", begun).end()
    assert names(told) == {"friend": None}


def test_in_an_outage_a_bounded_number_is_told(told: list[ReadableSpan]) -> None:
    tracer = tracer_of(told, 0.0)
    at_ns = 10**18
    for _ in range(3 * KEPT_PER_S):
        span = tracer.start_span("fails")
        span.failed("UNAVAILABLE")
        span.end(at_ns)
    assert len(told) == KEPT_PER_S
    span = tracer.start_span("fails")
    span.failed("UNAVAILABLE")
    span.end(at_ns + 10**9)
    assert len(told) == KEPT_PER_S + 1


def test_what_is_done_for_many_stands_under_one_and_links_to_others(told: list[ReadableSpan]) -> None:
    tracer = tracer_of(told, 1.0)
    askers = [tracer.start_span("asks", Context()) for _ in range(LINKS_MAX + 3)]
    with tracer.for_many("commit", [INVALID_SPAN, *askers]) as commit, tracer.outgoing("write", {}):
        assert trace.get_current_span() is not commit
    write, done = told
    assert write.parent == done.context
    assert done.parent == askers[0].context
    assert [link.context for link in done.links] == [one.context for one in askers[1 : LINKS_MAX + 1]]


def test_what_is_done_for_nobody_or_nobody_hears_of_has_no_span(told: list[ReadableSpan]) -> None:
    with tracer_of(told, 1.0).for_many("commit", [INVALID_SPAN]), Tracer().for_many("commit", [INVALID_SPAN]):
        pass
    assert told == []


def test_slow_work_for_many_is_told_with_the_way_to_it(told: list[ReadableSpan]) -> None:
    tracer = tracer_of(told, 0.0, slow_s=0.01)
    asker = tracer.start_span("asks", Context())
    with tracer.for_many("commit", [asker]):
        time.sleep(0.02)
    asker.end()
    assert names(told) == {"commit": "slow", "asks": "slow"}
