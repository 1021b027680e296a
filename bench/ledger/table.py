"""The tables, for people: the same text on the terminal and in docs/PERFORMANCE.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.ledger.load import Sample
from bench.ledger.results import LEDGER, Recovery, Results, Target, targets

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "PERFORMANCE.md"
BEGIN = "<!-- bench.ledger: written by `make bench-ledger`, do not edit -->"
END = "<!-- bench.ledger: end -->"

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
TARGETS_HEAD = ("target", "wanted", "measured", "")


def rendered(results: Results) -> str:
    """All tables and notes."""
    parts = [
        _table(TARGETS_HEAD, [_target(target) for target in targets(results)]),
        _table(LOADS_HEAD, list(_loads(results))),
        _table(STARTS_HEAD, list(_starts(results))),
        "\n".join(f"- {note}" for note in results.notes),
    ]
    return "\n\n".join(parts) + "\n"


def write(text: str, document: Path = DOCUMENT) -> None:
    """Replaces what stands between the markers. Raises ValueError when they are missing."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} lacks the lines {BEGIN!r} and {END!r}")
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def _loads(results: Results) -> Iterator[tuple[str, ...]]:
    for load, by_system in results.samples.items():
        ledger = by_system.get(LEDGER)
        for system, sample in by_system.items():
            yield (load if sample is ledger or ledger is None else "", *_sample(system, sample, ledger))


def _sample(system: str, sample: Sample, ledger: Sample | None) -> tuple[str, ...]:
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


def _starts(results: Results) -> Iterator[tuple[str, ...]]:
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


def _start(what: str, found: Recovery) -> tuple[str, ...]:
    return what, f"{found.seconds:,.1f} s", f"{found.resident_bytes / 1e6:,.0f} MB"


def _target(target: Target) -> tuple[str, ...]:
    verdict = {None: "not measured", True: "met", False: "**missed**"}[target.met]
    measured = (
        "" if target.measured is None else f"{target.measured:,.{_digits(target.measured)}f}{target.unit}"
    )
    return (
        target.name,
        f"{'≥' if target.at_least else '<'} {target.bound:,.0f}{target.unit}",
        measured,
        verdict,
    )


def _digits(figure: float) -> int:
    return 1 if figure < 100 else 0


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Markdown whose columns stand in line; the first column is text, figures are at the right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    texts = {
        number for number, name in enumerate(head) if name in {"load", "system", "a start with", "target", ""}
    }
    ruler = (
        "|"
        + "|".join(
            ("-" * (width + 2)) if n in texts else "-" * (width + 1) + ":" for n, width in enumerate(widths)
        )
        + "|"
    )

    def line(cells: tuple[str, ...]) -> str:
        padded = (
            f"{cell:<{width}}" if number in texts else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(head), ruler, *map(line, rows)])
