"""The service map: who calls whom, how often, with how many errors, and how long it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from viewer.store import Span


@dataclass(slots=True)
class Edge:
    """Calls from one to another."""

    caller: str
    callee: str
    took_ms: list[float] = field(default_factory=list)
    failed: int = 0

    def percentile_ms(self, part: float) -> float:
        """Of the times that calls took."""
        ordered = sorted(self.took_ms)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def edges(spans: Iterable[Span]) -> list[Edge]:
    """From spans of clients, and of servers under them in another part; the busiest first."""
    found: dict[tuple[str, str], Edge] = {}
    spans = list(spans)
    by_id = {(one.trace, one.span): one for one in spans}
    for one in spans:
        parent = by_id.get((one.trace, one.parent))
        if one.kind == "server" and (parent is None or parent.service != one.service):
            caller, callee = parent.service if parent else "outside", one.service
        elif one.kind == "client" and (
            peer := one.attributes.get("service.peer.name") or one.attributes.get("db.system.name")
        ):
            caller, callee = one.service, str(peer)
        else:
            continue
        edge = found.setdefault((caller, callee), Edge(caller, callee))
        edge.took_ms.append(one.took_ms)
        edge.failed += one.failed
    return sorted(found.values(), key=lambda edge: -len(edge.took_ms))


def columns(found: Iterable[Edge]) -> list[list[str]]:
    """The names from left to right: each as far from the outside as its nearest caller is, and one more."""
    calls: dict[str, set[str]] = defaultdict(set)
    names: set[str] = set()
    for edge in found:
        calls[edge.caller].add(edge.callee)
        names |= {edge.caller, edge.callee}
    called = {callee for callees in calls.values() for callee in callees}
    now = sorted(names - called) or sorted(names)[:1]
    placed: set[str] = set()
    result: list[list[str]] = []
    while now:
        result.append(now)
        placed |= set(now)
        now = sorted({callee for name in now for callee in calls[name]} - placed)
    # What calls nobody stands last: stores, and what is not ours.
    last = {name for name in names if not calls[name]}
    result = [[name for name in column if name not in last] for column in result]
    rest = [sorted(names - placed - last), sorted(last)]
    return [column for column in [*result, *rest] if column]
