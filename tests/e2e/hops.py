"""Which hops the trace of a user's action must have, from the edge to what keeps it."""

from __future__ import annotations

from tests.mesh.collector import Collector, Seen

# What stands between a caller and the service it calls, outermost first.
ROUTE = ("{caller} client {call}", "{callee} server {call}")


def call(caller: str, callee: str, method: str) -> tuple[str, ...]:
    """The hops of one call."""
    name = f"{callee.capitalize()}Service/{method}"
    return tuple(hop.format(caller=caller, callee=callee, call=name) for hop in ROUTE)


# A request's way in; a WebSocket is one request, and each of its operations a trace of its own.
DOOR = ("edge server POST /graphql", "edge client POST /graphql", "gateway server ")
# The ledger's writer commits for many at once: under one of them, linked to the others.
COMMITTED = ("ledger internal ledger commit", "ledger client sqlite write")
# By action: hops that stand under each other, from the gateway down to what keeps it.
ACTIONS: dict[str, tuple[str, ...]] = {
    "log in": (*call("gateway", "identity", "LogIn"), "identity client sqlite write"),
    "upload": (*call("gateway", "content", "UploadMeme"), *call("content", "identity", "BatchGetUsers")),
    "upload is kept": (*call("gateway", "content", "UploadMeme"), "content client sqlite write"),
    "watch": (*call("gateway", "ledger", "OpenSession"), *COMMITTED),
    "buy": (*call("gateway", "market", "Purchase"), *call("market", "ledger", "CreateTransfers"), *COMMITTED),
    "withdraw": (
        *call("gateway", "chain", "RequestWithdrawal"),
        *call("chain", "ledger", "CreateTransfers"),
        *COMMITTED,
    ),
}
OVER_SOCKETS = {ACTIONS["watch"]}
# By what is done later: a span, and one that the trace must have that it links to.
LATER = {
    "content consumer process satreel-content": "content server ContentService/UploadMeme",
    "chain producer chain send": "chain server ChainService/RequestWithdrawal",
}


def missing(collector: Collector) -> list[str]:
    """Actions without a joined trace, and work without a link to its cause."""
    traces = {seen.trace_id for seen in collector.spans}
    paths = {path for trace in traces for path in collector.paths(trace)}
    found = [name for name, hops in ACTIONS.items() if not any(_in_order(path, hops) for path in paths)]
    return found + [later for later, cause in LATER.items() if not _linked(collector, later, cause)]


def _in_order(path: str, hops: tuple[str, ...]) -> bool:
    """One under the other, in one trace that begins at the edge, or in the gateway for a WebSocket's."""
    steps = path.split(" > ")
    begins = DOOR[-1:] if hops in OVER_SOCKETS else DOOR
    if not all(step.startswith(one) for step, one in zip(steps, begins, strict=False)):
        return False
    rest = iter(steps[len(begins) :])
    return all(hop in rest for hop in hops)


def _linked(collector: Collector, later: str, cause: str) -> bool:
    def causes(seen: Seen) -> set[str]:
        return {other.label for link in seen.span.links for other in collector.trace(link.trace_id.hex())}

    return any(cause in causes(seen) for seen in collector.spans if seen.label == later)
