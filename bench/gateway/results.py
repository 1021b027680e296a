"""What a run found, and the targets it is held against."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from bench.document import Target
from bench.gateway.load import Sample
from bench.gateway.operations import ALL, ROUND
from bench.gateway.serving import GATEWAY, GRAPHQL_WS, JIT, STOCK

HTTP_TARGETS = (
    (f"hot trusted query ({ROUND.name}), of Mercurius", JIT, 0.25),
    (f"hot trusted query ({ROUND.name}), of stock Strawberry", STOCK, 1 / 20),
)
OTHERS = tuple(operation.name for operation in ALL if operation is not ROUND)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Events delivered to sockets by one server."""

    sockets: int
    messages: int
    seconds: float
    cpu_s: float
    bytes_per_socket: float
    delays_ms: list[float]

    @property
    def cpu_us(self) -> float:
        """CPU time of the server's process for a message, in microseconds."""
        return self.cpu_s / self.messages * 1e6

    @property
    def p99_ms(self) -> float:
        """From when the services published to when the client had it, of 99 of 100 messages."""
        return sorted(self.delays_ms)[int(len(self.delays_ms) * 0.99)]


@dataclass(slots=True)
class Results:
    """Samples by operation and server, one for each round; deliveries by number of sockets and server."""

    samples: dict[str, dict[str, list[Sample]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    deliveries: dict[int, dict[str, Delivery]] = field(default_factory=lambda: defaultdict(dict))
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def least_us(self, operation: str, server: str) -> float | None:
        """The cheapest round: what the work costs when nothing else disturbs it."""
        found = self.samples[operation][server]
        return min(sample.cpu_us for sample in found) if found else None

    def median_us(self, operation: str, server: str) -> float | None:
        """The round in the middle."""
        found = self.samples[operation][server]
        return median(sample.cpu_us for sample in found) if found else None

    def ratio(self, operation: str, peer: str) -> float | None:
        """The gateway's cost, of the peer's; by medians."""
        ours, theirs = self.median_us(operation, GATEWAY), self.median_us(operation, peer)
        return ours / theirs if ours and theirs else None

    def delivery(self, server: str) -> Delivery | None:
        """The one with the most sockets."""
        found = [by_server[server] for by_server in self.deliveries.values() if server in by_server]
        return max(found, key=lambda delivery: delivery.sockets, default=None)

    def delivered_ratio(self) -> float | None:
        """A message's cost, of graphql-ws's; where ours is most of it."""
        ratios = [
            by_server[GATEWAY].cpu_us / by_server[GRAPHQL_WS].cpu_us
            for by_server in self.deliveries.values()
            if {GATEWAY, GRAPHQL_WS} <= by_server.keys()
        ]
        return max(ratios, default=None)


def targets(results: Results) -> list[Target]:
    """The targets of the gateway. "Any query" is the one that does worst."""
    others = [ratio for name in OTHERS if (ratio := results.ratio(name, JIT)) is not None]
    ours = results.delivery(GATEWAY)
    return [
        *(
            Target(name, bound, results.ratio(ROUND.name, peer), at_least=False, unit=" ×", digits=2)
            for name, peer, bound in HTTP_TARGETS
        ),
        Target(
            "any query with gRPC calls, of Mercurius",
            0.6,
            max(others, default=None),
            at_least=False,
            unit=" ×",
            digits=2,
        ),
        Target(
            "a delivered message, of graphql-ws",
            0.25,
            results.delivered_ratio(),
            at_least=False,
            unit=" ×",
            digits=2,
        ),
        Target("a delivered message", 20, ours.cpu_us if ours else None, at_least=False, unit=" µs"),
        Target(
            "memory of a socket",
            20,
            ours.bytes_per_socket / 1_000 if ours else None,
            at_least=False,
            unit=" KB",
        ),
    ]
