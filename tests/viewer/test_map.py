"""Calls through edge and sidecars, as the map and the lists show them."""

from __future__ import annotations

import re
import time
from pathlib import Path

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from viewer.drawing import chart
from viewer.map import Edge, columns, edges
from viewer.reading import spans_of
from viewer.store import Span, Store

NOW_NS = time.time_ns()
CALL = "satreel.ledger.v1.LedgerService/GetTitle"
PROXY = {"component": "proxy"}
# A request from the edge to the ledger's records: part, kind, and name of each hop, one under the other.
HOPS = (
    ("edge", "server", "POST /graphql"),
    ("edge", "client", "POST /graphql"),
    ("gateway-sidecar", "server", "POST"),
    ("gateway", "server", "query Title"),
    ("gateway", "client", CALL),
    ("gateway-sidecar", "client", f"/{CALL}"),
    ("ledger-sidecar", "server", f"/{CALL}"),
    ("ledger", "server", CALL),
    ("ledger", "client", "sqlite read"),
)


def hops(length: int = len(HOPS), **more: object) -> list[Span]:
    """The first of them; `more` is said of the last."""
    found = []
    for at, (service, kind, name) in enumerate(HOPS[:length]):
        said: dict[str, object] = dict(PROXY) if service == "edge" or service.endswith("-sidecar") else {}
        if name == CALL:
            said["rpc.method"] = CALL
        if name.startswith("sqlite"):
            said["db.system.name"] = "sqlite"
        above = f"{at:016x}" if at else ""
        began, ended = NOW_NS + at * 1_000_000, NOW_NS + (20 - at) * 1_000_000
        found.append(Span("a" * 32, f"{at + 1:016x}", above, service, name, kind, began, ended, False, said))
    if more:
        last = found[-1]
        found[-1] = Span(**{**{name: getattr(last, name) for name in Span.__slots__}, **more})
    return found


def calls(spans: list[Span]) -> dict[tuple[str, str], tuple[int, int]]:
    return {(edge.caller, edge.callee): (edge.calls, edge.failed) for edge in edges(spans)}


def test_sidecars_are_parts_of_what_they_stand_beside() -> None:
    assert calls(hops()) == {
        ("outside", "edge"): (1, 0),
        ("edge", "gateway"): (1, 0),
        ("gateway", "ledger"): (1, 0),
        ("ledger", "sqlite"): (1, 0),
    }


def test_a_call_that_nobody_took_is_seen() -> None:
    assert calls(hops(5, failed=True))["gateway", "ledger"] == (1, 1)
    # Not told of yet: it may have been taken.
    assert ("gateway", "ledger") not in calls(hops(5))


def test_what_lasts_counts_and_is_not_slow() -> None:
    (edge,) = edges(hops(1, attributes={**PROXY, "http.status_code": "101"}))
    assert (edge.calls, edge.percentile_ms(0.5)) == (1, None)


def test_a_trace_is_called_after_what_an_application_does(tmp_path: Path) -> None:
    for spans in (hops(), hops()[::-1]):
        store = Store(
            tmp_path / f"{spans[0].service}.sqlite", spans_max=100, points_max=100, bytes_max=1 << 20
        )
        store.add_spans(spans)
        (trace,) = store.traces("recent")
        assert (trace.service, trace.name, trace.spans) == ("edge", "query Title", len(HOPS))
        store.close()


def test_a_file_of_another_version_is_begun_anew(tmp_path: Path) -> None:
    for version in (1, 2):
        store = Store(tmp_path / "a.sqlite", spans_max=100, points_max=100, bytes_max=1 << 20)
        assert store.traces("recent") == []
        store.add_spans(hops())
        assert len(store.traces("recent")) == 1
        if version == 1:
            store._db.execute("PRAGMA user_version=1")
        store.close()


def test_refusals_of_others_are_no_faults_of_envoys_and_their_words_are_left_out() -> None:
    def told(status: str, **more: str) -> trace_service_pb2.ExportTraceServiceRequest:
        said = {
            **PROXY,
            "http.status_code": "200",
            "grpc.status_code": status,
            "grpc.message": "of 5 sat",
            **more,
        }
        span = {
            "trace_id": b"a" * 16,
            "span_id": b"b" * 8,
            "start_time_unix_nano": NOW_NS,
            "end_time_unix_nano": NOW_NS + 1,
            "status": {"code": 2},
            "attributes": [{"key": key, "value": {"string_value": value}} for key, value in said.items()],
        }
        return trace_service_pb2.ExportTraceServiceRequest(
            resource_spans=[{"scope_spans": [{"spans": [span]}]}]  # type: ignore[list-item]
        )

    for status, is_fault in (("5", False), ("9", False), ("14", True), ("13", True)):
        (span,) = spans_of(told(status))
        assert (span.failed, "grpc.message" in span.attributes) == (is_fault, False)
    (refused,) = spans_of(told("", **{"http.status_code": "403"}))
    (broken,) = spans_of(told("", **{"http.status_code": "503"}))
    assert (refused.failed, broken.failed) == (False, True)


def test_a_chart_tells_when_and_does_not_hide_what_is_below_zero() -> None:
    noon_ns = 1_767_268_800 * 10**9
    drawn = chart({"chain": [(noon_ns, 0.0), (noon_ns + 60 * 10**9, -5.0), (noon_ns + 120 * 10**9, 5.0)]})
    assert [one for one in ("12:00:00", "12:01:00", "12:02:00") if f">{one}<" not in drawn] == []
    assert ">-5<" in drawn
    line = re.search(r'class="area c0" d="M(\S+) (\S+) L(\S+) (\S+) (\S+) (\S+)"', drawn)
    assert line is not None
    at_zero, at_least, at_most = (float(line[one]) for one in (2, 4, 6))
    assert at_most < at_zero < at_least, "up is less"


def test_traces_that_begin_midway_do_not_move_parts_to_the_front() -> None:
    often = (("outside", "edge"), ("edge", "gateway"), ("gateway", "ledger"), ("ledger", "sqlite"))
    few = (("outside", "ledger"), ("outside", "gateway"), ("insight", "ledger"))
    found = [Edge(*pair, calls=100) for pair in often] + [Edge(*pair, calls=2) for pair in few]
    assert columns(found) == [["insight", "outside"], ["edge"], ["gateway"], ["ledger"], ["sqlite"]]
