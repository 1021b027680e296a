"""Which hops the trace of a user's action must have, from the edge to what keeps it."""

from __future__ import annotations

from typing import NamedTuple

from tests.mesh.collector import Collector, Seen

# What stands between a caller and the service it calls, outermost first.
DIRECT = ("{caller} client {call}", "{callee} server {call}")
BY_SIDECARS = (DIRECT[0], "{caller}-sidecar client {call}", "{callee}-sidecar server {call}", DIRECT[1])
# A request's way in, as its spans' labels begin; a WebSocket is one request, and each of its operations a
# trace of its own.
EDGE, GATEWAY = ("edge server POST /graphql", "edge client POST /graphql"), "gateway server "
SIDECAR = "gateway-sidecar server POST"


class Call(NamedTuple):
    """A call of one part to another."""

    caller: str
    callee: str
    method: str

    def hops(self, route: tuple[str, ...]) -> list[str]:
        """What its trace has of it."""
        name = f"{self.callee.capitalize()}Service/{self.method}"
        return [hop.format(caller=self.caller, callee=self.callee, call=name) for hop in route]


# The ledger's writer commits for many at once: under one of them, linked to the others.
COMMITTED = ("ledger internal ledger commit", "ledger client sqlite write")
# By action: hops that stand under each other, from the gateway down to what keeps it.
ACTIONS: dict[str, tuple[Call | str, ...]] = {
    "log in": (Call("gateway", "identity", "LogIn"), "identity client sqlite write"),
    "upload": (Call("gateway", "content", "UploadMeme"), Call("content", "identity", "BatchGetUsers")),
    "upload is kept": (Call("gateway", "content", "UploadMeme"), "content client sqlite write"),
    "watch": (Call("gateway", "ledger", "OpenSession"), *COMMITTED),
    "buy": (Call("gateway", "market", "Purchase"), Call("market", "ledger", "CreateTransfers"), *COMMITTED),
    "withdraw": (
        Call("gateway", "chain", "RequestWithdrawal"),
        Call("chain", "ledger", "CreateTransfers"),
        *COMMITTED,
    ),
}
OVER_SOCKETS = {"watch"}
# By what is done later: a span, and one that the trace must have that it links to.
LATER = {
    "content consumer process satreel-content": "content server ContentService/UploadMeme",
    "chain producer chain send": "chain server ChainService/RequestWithdrawal",
}


def missing(collector: Collector, *, sidecars: bool = False) -> list[str]:
    """Actions without a joined trace, and work without a link to its cause."""
    traces = {seen.trace_id for seen in collector.spans}
    paths = {path for trace in traces for path in collector.paths(trace)}
    found = [name for name in ACTIONS if not any(_in_order(path, name, sidecars) for path in paths)]
    return found + [later for later, cause in LATER.items() if not _linked(collector, later, cause)]


def _in_order(path: str, action: str, sidecars: bool) -> bool:
    """One under the other, in one trace that begins at the edge, or in the gateway for a WebSocket's."""
    steps = path.split(" > ")
    door = (*EDGE, SIDECAR, GATEWAY) if sidecars else (*EDGE, GATEWAY)
    begins = door[-1:] if action in OVER_SOCKETS else door
    if not all(step.startswith(one) for step, one in zip(steps, begins, strict=False)):
        return False
    rest = iter(steps[len(begins) :])
    return all(hop in rest for hop in _hops(action, BY_SIDECARS if sidecars else DIRECT))


def _hops(action: str, route: tuple[str, ...]) -> list[str]:
    return [
        hop for step in ACTIONS[action] for hop in ([step] if isinstance(step, str) else step.hops(route))
    ]


def _linked(collector: Collector, later: str, cause: str) -> bool:
    def causes(seen: Seen) -> set[str]:
        return {other.label for link in seen.span.links for other in collector.trace(link.trace_id.hex())}

    return any(cause in causes(seen) for seen in collector.spans if seen.label == later)
