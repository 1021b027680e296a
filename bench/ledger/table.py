"""The tables, for people: the same text on the terminal and in docs/PERFORMANCE.md."""

from __future__ import annotations

from collections.abc import Iterator

from bench.document import Row, table, targets_table
from bench.ledger.load import Sample
from bench.ledger.results import LEDGER, Recovery, Results, targets

LOADS_HEAD = (
    "load",
    "system",
    "a second",
    "p50 ms",
    "p99 ms",
    "server CPU µs",
    "cores",
    "client CPU µs",
    "ledger is",
)
STARTS_HEAD = ("a start with", "to SERVING", "resident after it")
TEXTS = {"load", "system", "a start with"}


def rendered(results: Results) -> str:
    """All tables and notes."""
    parts = [
        targets_table(targets(results)),
        table(LOADS_HEAD, list(_loads(results)), texts=TEXTS),
        table(STARTS_HEAD, list(_starts(results)), texts=TEXTS),
        "\n".join(f"- {note}" for note in results.notes),
    ]
    return "\n\n".join(parts) + "\n"


def _loads(results: Results) -> Iterator[Row]:
    for load, by_system in results.samples.items():
        ledger = by_system.get(LEDGER)
        for system, sample in by_system.items():
            yield (load if sample is ledger or ledger is None else "", *_sample(system, sample, ledger))


def _sample(system: str, sample: Sample, ledger: Sample | None) -> Row:
    client = "" if sample.client_cpu_s is None else f"{sample.client_cpu_s / sample.operations * 1e6:,.2f}"
    times = f"{ledger.rate / sample.rate:,.1f} ×" if ledger and ledger is not sample else ""
    return (
        system,
        f"{sample.rate:,.0f}",
        f"{sample.percentile_ms(0.5):,.1f}",
        f"{sample.percentile_ms(0.99):,.1f}",
        f"{sample.server_us:,.1f}",
        f"{sample.server_cpu_s / sample.seconds:.2f}",
        client,
        times,
    )


def _starts(results: Results) -> Iterator[Row]:
    if results.empty:
        yield _start("an empty journal", results.empty)
    if results.replayed:
        yield _start(
            f"{results.replayed.transfers:,} transfers, the whole journal replayed", results.replayed
        )
    for found in results.recoveries:
        yield _start(f"{found.transfers:,} transfers, from a snapshot", found)
    kinds = (
        ("accounts idle since behind the horizon", results.idle),
        ("accounts with a remembered transfer each, replayed", results.used),
    )
    for kind, start in kinds:
        each = results.account_bytes(start)
        if start is not None and each is not None:
            yield _start(f"{start.transfers:,} {kind} ({each:,.0f} bytes each)", start)


def _start(what: str, found: Recovery) -> Row:
    return what, f"{found.seconds:,.1f} s", f"{found.resident_bytes / 1e6:,.0f} MB"
