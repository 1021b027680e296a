"""What benchmarks share: targets, tables for people, and their sections of docs/PERFORMANCE.md."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "PERFORMANCE.md"
TARGETS_HEAD = ("target", "wanted", "measured", "")

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach: at least so much, or less than so much."""

    name: str
    bound: float
    measured: float | None
    at_least: bool = True
    unit: str = ""
    # Behind the point; None: as many as a figure of its size needs.
    digits: int | None = None

    @property
    def met(self) -> bool | None:
        """None when it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured < self.bound


def targets_table(targets: Sequence[Target]) -> str:
    """What was wanted beside what was measured."""
    return table(TARGETS_HEAD, [_target(target) for target in targets], texts={"target", ""})


def table(head: Row, rows: Sequence[Row], *, texts: set[str]) -> str:
    """Markdown whose columns stand in line; those of `texts` at the left, figures at the right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    left = {number for number, name in enumerate(head) if name in texts}
    ruler = (
        "|"
        + "|".join(
            ("-" * (width + 2)) if n in left else "-" * (width + 1) + ":" for n, width in enumerate(widths)
        )
        + "|"
    )

    def line(cells: Row) -> str:
        padded = (
            f"{cell:<{width}}" if number in left else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(head), ruler, *map(line, rows)])


def write(text: str, command: str, document: Path = DOCUMENT) -> None:
    """Replaces what stands between this command's markers. Raises ValueError when they are missing."""
    name = command.removeprefix("make ").replace("-", ".")  # the package
    begin, end = f"<!-- {name}: written by `{command}`, do not edit -->", f"<!-- {name}: end -->"
    before, found, rest = document.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{document} lacks the lines {begin!r} and {end!r}")
    document.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


def circumstances(load_before: float, cores_for: str) -> str:
    """When and on what it was measured; `load_before` is the load average of before."""
    memory_gb = psutil.virtual_memory().total / 1e9
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores for {cores_for}, "
        f"{memory_gb:.0f} GB, {platform.system()}, Python {platform.python_version()}; "
        f"load average before and after: {load_before:.1f}, {os.getloadavg()[0]:.1f}."
    )


def _target(target: Target) -> Row:
    verdict = {None: "not measured", True: "met", False: "**missed**"}[target.met]
    measured = "" if target.measured is None else _figure(target, target.measured, _digits(target.measured))
    return (
        target.name,
        f"{'≥' if target.at_least else '<'} {_figure(target, target.bound, 0)}",
        measured,
        verdict,
    )


def _figure(target: Target, figure: float, usual: int) -> str:
    return f"{figure:,.{usual if target.digits is None else target.digits}f}{target.unit}"


def _digits(figure: float) -> int:
    return 1 if figure < 100 else 0
