"""The table, for people: the same text on the terminal and in docs/PERFORMANCE.md."""

from __future__ import annotations

from collections.abc import Iterator

from bench.document import Row, table
from bench.mesh.load import Seen

HEAD = ("call", "way", "CPU µs a call", "× without", "of which", "median ms", "p99 ms", "× without ")
TEXTS = {"call", "way", "of which"}


def rendered(kinds: dict[str, list[Seen]], notes: list[str]) -> str:
    """A table of each kind, and notes."""
    parts = [table(HEAD, list(rows(seen)), texts=TEXTS) for seen in kinds.values()]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)]) + "\n"


def rows(seen: list[Seen]) -> Iterator[Row]:
    """One for each way, beside that without what is measured."""
    by_name = {(one.way.call, one.way.name): one for one in seen}
    before = ""
    for one in seen:
        base = by_name[one.way.call, one.way.without] if one.way.without else None
        yield (
            "" if one.way.call == before else one.way.call,
            one.way.name,
            f"{one.total_us:,.0f}",
            f"{one.total_us / base.total_us:.2f}" if base else "",
            ", ".join(f"{process} {one.cost_us(process):,.0f}" for process in one.way.processes),
            f"{one.median_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.median_ms / base.median_ms:.2f}" if base else "",
        )
        before = one.way.call
