"""Which hops the trace of a user's action must have. The edge and sidecars are further entries of `ROUTE`."""

from __future__ import annotations

from tests.mesh.collector import Collector, Seen

# What stands between a caller and the service it calls, outermost first.
ROUTE = ("{caller} client {call}", "{callee} server {call}")


def call(caller: str, callee: str, method: str) -> tuple[str, ...]:
    """The hops of one call."""
    name = f"{callee.capitalize()}Service/{method}"
    return tuple(hop.format(caller=caller, callee=callee, call=name) for hop in ROUTE)


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
    """One under the other, in one trace that begins in the gateway."""
    steps = path.split(" > ")
    if not steps[0].startswith("gateway server "):
        return False
    rest = iter(steps)
    return all(hop in rest for hop in hops)


def _linked(collector: Collector, later: str, cause: str) -> bool:
    def causes(seen: Seen) -> set[str]:
        return {other.label for link in seen.span.links for other in collector.trace(link.trace_id.hex())}

    return any(cause in causes(seen) for seen in collector.spans if seen.label == later)
