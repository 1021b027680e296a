"""Benchmarks: their tables, their sections of the document, and that what they measure is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.chain import blocks, payments, proofs, signatures, table
from bench.chain.plan import Plan
from bench.chain.samples import SATREEL, SDK, Delivery, Results
from bench.document import DOCUMENT, Target, targets_table, write

COMMANDS = ("make bench-ledger", "make bench-chain", "make bench-gateway", "make bench-mesh")
TINY = Plan(payments=2, payouts=1, block_transactions=2, proofs=2, signatures=2)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_writes_its_own_section(command: str, tmp_path: Path) -> None:
    copy = tmp_path / "PERFORMANCE.md"
    copy.write_text(DOCUMENT.read_text())
    write("| new |", command, copy)
    write("| newer |", command, copy)
    before, after = DOCUMENT.read_text().splitlines(), copy.read_text().splitlines()
    assert after.count("| newer |") == 1
    assert "| new |" not in after
    end = f"<!-- {command.removeprefix('make ').replace('-', '.')}: end -->"
    assert after[after.index(end) :] == before[before.index(end) :]
    begin = next(line for line in before if f"written by `{command}`" in line)
    assert after[: after.index(begin)] == before[: before.index(begin)]


def test_without_its_markers_nothing_is_written(tmp_path: Path) -> None:
    document = tmp_path / "PERFORMANCE.md"
    document.write_text("# What was measured\n")
    with pytest.raises(ValueError, match="lacks the lines"):
        write("| new |", COMMANDS[0], document)
    assert document.read_text() == "# What was measured\n"


def test_targets_are_told_met_missed_or_not_measured() -> None:
    wanted = [
        Target("enough", 10, 10.0, unit="/s"),
        Target("too few", 10, 9.9),
        Target("quick", 15, 14.9, at_least=False, unit=" ms"),
        Target("slow", 15, 15.0, at_least=False),
        Target("nobody knows", 1, None),
    ]
    verdicts = [line.split("|")[-2].strip() for line in targets_table(wanted).splitlines()[2:]]
    assert verdicts == ["met", "**missed**", "met", "**missed**", "not measured"]


def test_what_the_chain_bench_measures_gives_right_results() -> None:
    """Each kind compares its results with those of bsv-sdk before it measures, and raises if they differ."""
    results = Results()
    for kind in (payments, blocks, proofs, signatures):
        results.samples += kind.samples(TINY)
    results.deliveries += [Delivery("one by one", 10, 1.0, 0.5, 0.1), Delivery("ten", 10, 0.5, 0.2, 0.1)]
    results.notes.append("a note")
    assert {sample.system for sample in results.samples} == {SATREEL, SDK}
    text = table.rendered(results)
    assert all(sample.work in text for sample in results.samples)
    assert "not measured" not in text
    assert "2.0 ×" in text
    assert text.endswith("- a note\n")
