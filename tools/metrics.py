"""docs/METRICS.md from what the code declares: `python -m tools.metrics --write` or `--check`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from mesh.telemetry import DECLARED, Kind, Metric
from tools.envoy_metrics import ENVOY_METRICS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "METRICS.md"
PACKAGES = ("mesh", "graphql_gateway", "services")
HEAD = """# Metrics

Made by `python -m tools.metrics --write` from what the code declares (`mesh.telemetry.counter`, `gauge`, …),
and checked by `make check`. All carry `service.name`, `service.namespace` (`satreel`), `service.instance.id`.
Dashboards and alerts ask for nothing else; in Prometheus a metric has the second name. Points of histograms
name a sampled trace (exemplars).
"""
# What must be seen of a running mesh, and the metrics that show it: a test sees that none is missing.
WATCHED: dict[str, tuple[str, ...]] = {
    "response times": ("graphql.operation.duration", "rpc.server.call.duration", "rpc.client.call.duration"),
    "error rates": ("graphql.operation.duration", "rpc.server.call.duration"),
    "resource usage": (
        "process.cpu.time",
        "process.memory.usage",
        "process.thread.count",
        "process.unix.file_descriptor.count",
        "asyncio.loop.lag",
        "cpython.gc.collections",
    ),
    "transaction throughput": ("ledger.orders.waiting", "business.transactions.count", "chain.sent"),
    "node health": ("chain.height", "chain.source.age", "chain.node.duration"),
    "integration status": (
        "chain.source.usable",
        "chain.source.duration",
        "chain.source.left_out",
        "content.steps",
        "content.aitubo.key_refused",
    ),
    "request queues": (
        "rpc.server.running",
        "rpc.server.queue.wait",
        "http.server.active_requests",
        "gateway.queue.wait",
    ),
    "background jobs": ("content.jobs", "content.steps"),
    "connections": ("gateway.connections",),
    "slow subscribers": ("graphql.subscriptions.conflated", "graphql.subscriptions.fell_behind"),
    "active users": ("business.users.active", "business.users.new", "business.users.log_ins"),
    "transaction volume": ("business.transactions.volume_sat", "business.transactions.count"),
    "round participation": ("business.rounds.participation", "business.rounds.entries"),
    "content engagement": ("business.engagement.paid_seconds", "business.sessions.opened"),
    "revenue": (
        "business.revenue.takings",
        "business.revenue.platform_fee",
        "business.revenue.creators",
        "business.revenue.owners",
        "business.revenue.pool",
        "business.revenue.payouts",
    ),
    "market activity": (
        "business.market.listings",
        "business.market.offers",
        "business.market.sales",
        "business.market.volume",
    ),
}
_SUFFIXES = {"s": "_seconds", "By": "_bytes"}


def declared() -> dict[str, Metric]:
    """All metrics of all parts, by name."""
    for package in PACKAGES:
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            # Programs put together what others declare; imported, they could not be run any more.
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    return dict(sorted(DECLARED.items()))


def prometheus_name(metric: Metric) -> str:
    """As OTLP names are translated: units and `_total` behind, `_bucket`, `_sum`, `_count` of histograms."""
    name = metric.name.replace(".", "_") + _SUFFIXES.get(metric.unit, "")
    return f"{name}_total" if metric.kind is Kind.COUNTER else name


def page() -> str:
    """docs/METRICS.md."""
    lines = [HEAD, *_watched(), *_of_envoy()]
    of_module: dict[str, list[Metric]] = {}
    for metric in declared().values():
        of_module.setdefault(metric.declared_in.split(".app")[0].split(".adapters")[0], []).append(metric)
    for module, metrics in sorted(of_module.items()):
        lines += [
            f"## {module}",
            "",
            "| metric | in Prometheus | kind | unit | by | says |",
            "|---|---|---|---|---|---|",
        ]
        for one in metrics:
            by = ", ".join(f"`{name}`" for name in one.by)
            names = f"`{one.name}` | `{prometheus_name(one)}`"
            lines.append(f"| {names} | {one.kind} | {one.unit} | {by} | {one.meaning} |")
        lines.append("")
    return "\n".join(lines)


def _watched() -> list[str]:
    rows = [f"| {what} | {', '.join(f'`{name}`' for name in names)} |" for what, names in WATCHED.items()]
    return ["| to see | look at |", "|---|---|", *rows, ""]


def _of_envoy() -> list[str]:
    lines = [
        "## Envoy, at the edge and beside each part",
        "",
        "Prometheus asks Envoy itself (`k8s/observability/prometheus.yaml`); names and units are Envoy's.",
        "",
        "| in Prometheus | kind | unit | by | says |",
        "|---|---|---|---|---|",
    ]
    for one in ENVOY_METRICS:
        by = ", ".join(f"`{name}`" for name in one.by)
        lines.append(f"| `{one.name}` | {one.kind} | {one.unit} | {by} | {one.meaning} |")
    return [*lines, ""]


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 when the page has drifted."""
    parser = argparse.ArgumentParser(prog="python -m tools.metrics", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true")
    what.add_argument("--check", action="store_true")
    if parser.parse_args(arguments).write:
        PAGE.write_text(page())
        return 0
    if not PAGE.is_file() or PAGE.read_text() != page():
        print("docs/METRICS.md has drifted; run `python -m tools.metrics --write`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
