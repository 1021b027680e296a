"""The tables, for people: the same text on the terminal and in docs/PERFORMANCE.md."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.document import Row, table, targets_table
from bench.gateway.operations import ROUND
from bench.gateway.results import Delivery, Results, targets
from bench.gateway.serving import GATEWAY

REQUESTS_HEAD = ("request", "server", "least CPU µs", "median CPU µs", "a second and core", "gateway is")
DELIVERIES_HEAD = (
    "sockets",
    "server",
    "CPU µs a message",
    "messages a second",
    "cores",
    "p50 ms",
    "p99 ms",
    "KB a socket",
    "gateway is",
)
TEXTS = {"request", "server"}
WANTED_REQUESTS_PER_S = 10_000
WANTED_SOCKETS = 50_000
# Beyond this part of a core, answers wait for each other.
BUSY_MAX = 0.6
CORES_PER_NODE = 4


def rendered(results: Results) -> str:
    """All tables and notes."""
    notes = [*results.notes, *_outlook(results)]
    parts = [
        targets_table(targets(results)),
        table(REQUESTS_HEAD, list(_requests(results)), texts=TEXTS),
        table(DELIVERIES_HEAD, list(_deliveries(results)), texts=TEXTS),
        "\n".join(f"- {note}" for note in notes),
    ]
    return "\n\n".join(parts) + "\n"


def _requests(results: Results) -> Iterator[Row]:
    for operation, by_server in results.samples.items():
        for server in by_server:
            least, middle = results.least_us(operation, server), results.median_us(operation, server)
            if least is None or middle is None:
                continue
            ratio = None if server == GATEWAY else results.ratio(operation, server)
            yield (
                operation if server == GATEWAY else "",
                server,
                f"{least:,.0f}",
                f"{middle:,.0f}",
                f"{1e6 / middle:,.0f}",
                f"{ratio:.3f} ×" if ratio else "",
            )


def _deliveries(results: Results) -> Iterator[Row]:
    for sockets, by_server in results.deliveries.items():
        for server, found in by_server.items():
            yield (f"{sockets:,}" if server == GATEWAY else "", server, *_delivery(found, by_server))


def _delivery(found: Delivery, by_server: dict[str, Delivery]) -> Row:
    ours = by_server.get(GATEWAY)
    ordered = sorted(found.delays_ms)
    return (
        f"{found.cpu_us:,.1f}",
        f"{found.messages / found.seconds:,.0f}",
        f"{found.cpu_s / found.seconds:.2f}",
        f"{ordered[len(ordered) // 2]:,.0f}",
        f"{found.p99_ms:,.0f}",
        f"{found.bytes_per_socket / 1_000:,.1f}",
        f"{ours.cpu_us / found.cpu_us:.2f} ×" if ours and ours is not found else "",
    )


def _outlook(results: Results) -> Iterator[str]:
    """What much more would take, computed from the figures."""
    hot_us = results.median_us(ROUND.name, GATEWAY)
    costs = [
        cost
        for operation in list(results.samples)
        if (cost := results.median_us(operation, GATEWAY)) is not None
    ]
    if hot_us is not None:
        yield _cores(
            f"{WANTED_REQUESTS_PER_S:,} requests/s of the hot query", WANTED_REQUESTS_PER_S * hot_us / 1e6
        )
    if costs:
        mixed = WANTED_REQUESTS_PER_S * sum(costs) / len(costs) / 1e6
        yield _cores(f"{WANTED_REQUESTS_PER_S:,} requests/s, each kind as often", mixed)
    ours = results.delivery(GATEWAY)
    if ours is not None:
        memory_gb = WANTED_SOCKETS * ours.bytes_per_socket / 1e9
        busy = WANTED_SOCKETS * ours.cpu_us / 1e6
        yield f"{_cores(f'{WANTED_SOCKETS:,} sockets, a message a second each', busy)} and {memory_gb:.1f} GB"


def _cores(what: str, busy: float) -> str:
    cores = math.ceil(busy / BUSY_MAX)
    nodes = math.ceil(cores / CORES_PER_NODE)
    return (
        f"Computed from these: {what} keep {busy:.1f} cores of gateways busy: {cores} processes at "
        f"{BUSY_MAX:.0%} of a core each, {nodes} nodes of {CORES_PER_NODE} cores"
    )
