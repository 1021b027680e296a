"""The service map: who calls whom, how often, with how many errors, and how long it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from viewer.store import Span

_SIDECAR = "-sidecar"
_MESH = "satreel."
# Of the calls of somebody's busiest caller.
FEW = 0.2


@dataclass(slots=True)
class Edge:
    """Calls from one to another. Those that last (streams, WebSockets) count, but not how long they took."""

    caller: str
    callee: str
    calls: int = 0
    failed: int = 0
    took_ms: list[float] = field(default_factory=list)

    def add(self, one: Span) -> None:
        """One call."""
        self.calls += 1
        self.failed += one.failed
        if not one.lasts:
            self.took_ms.append(one.took_ms)

    def percentile_ms(self, part: float) -> float | None:
        """Of the times that calls took; None where all of them last."""
        ordered = sorted(self.took_ms)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def edges(spans: Iterable[Span]) -> list[Edge]:
    """Who calls whom, the busiest first. A sidecar is a part of what it stands beside.

    From spans of servers, and of clients where nothing told of the other side: what is not ours, and calls
    that failed before anybody took them.
    """
    found: dict[tuple[str, str], Edge] = {}
    spans = list(spans)
    by_id = {(one.trace, one.span): one for one in spans}
    taken: set[tuple[str, str]] = set()

    def count(caller: str, callee: str, one: Span) -> None:
        found.setdefault((caller, callee), Edge(caller, callee)).add(one)

    for one in spans:
        if one.kind != "server" or one.service.endswith(_SIDECAR):
            continue
        above = by_id.get((one.trace, one.parent))
        way = {(one.trace, one.span)}
        while above is not None and (above.trace, above.span) not in way:
            way.add((above.trace, above.span))
            # The sidecars on the way, and the call itself.
            if not above.service.endswith(_SIDECAR):
                break
            above = by_id.get((above.trace, above.parent))
        taken |= way
        caller = part_of(above.service) if above is not None else "outside"
        if caller != one.service:
            count(caller, one.service, one)
    for one in spans:
        if one.kind == "client" and (one.trace, one.span) not in taken and (callee := _callee(one)):
            count(one.service, callee, one)
    return sorted(found.values(), key=lambda edge: -edge.calls)


def part_of(service: str) -> str:
    """The part that an instance, or the sidecar beside it, belongs to."""
    return service.removesuffix(_SIDECAR)


def _callee(one: Span) -> str:
    said = one.attributes
    if outside := said.get("service.peer.name") or said.get("db.system.name"):
        return str(outside)
    method = str(said.get("rpc.method", ""))
    return method.split(".")[1] if one.failed and method.startswith(_MESH) else ""


def columns(found: Iterable[Edge]) -> list[list[str]]:
    """The names from left to right: each as far from the outside as its nearest caller is, and one more.

    A caller of few of somebody's calls says nothing of where it stands: most are traces that begin midway.
    """
    found = list(found)
    names = {name for edge in found for name in (edge.caller, edge.callee)}
    most: dict[str, int] = {}
    for edge in found:
        most[edge.callee] = max(edge.calls, most.get(edge.callee, 0))
    calls: dict[str, set[str]] = defaultdict(set)
    for edge in found:
        if edge.calls >= most[edge.callee] * FEW:
            calls[edge.caller].add(edge.callee)
    called = {callee for callees in calls.values() for callee in callees}
    now = sorted(names - called) or sorted(names)[:1]
    placed: set[str] = set()
    result: list[list[str]] = []
    while now:
        result.append(now)
        placed |= set(now)
        now = sorted({callee for name in now for callee in calls[name]} - placed)
    # What calls nobody stands last: stores, and what is not ours.
    last = names - {edge.caller for edge in found}
    result = [[name for name in column if name not in last] for column in result]
    rest = [sorted(names - placed - last), sorted(last)]
    return [column for column in [*result, *rest] if column]
