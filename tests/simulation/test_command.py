"""`make simulate`, and what it prints of its own time."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.simulation import __main__ as command
from tests.simulation.run import Report

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("given", "seeds"), [((), "--seeds 10000 "), (("SEEDS=7",), "--seeds 7 "), (("SEED=3",), "--seed 3 ")]
)
def test_make_runs_ten_thousand_unless_told_otherwise(given: tuple[str, ...], seeds: str) -> None:
    shown = subprocess.run(["make", "-n", "simulate", *given], cwd=ROOT, capture_output=True, check=True)
    line = next(line for line in shown.stdout.decode().splitlines() if "tests.simulation" in line)
    assert seeds in f"{line} "


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_seed_takes_what_it_takes_whatever_jobs_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], jobs: int
) -> None:
    times = iter((1.0, 9.0))
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(command, "simulate", lambda seed: Report(seed, Counter(), "", 0.0, "", ()))
    monkeypatch.setattr("sys.argv", ["simulation", "--seed", "5", "--jobs", str(jobs)])
    assert command.main() == 0
    assert re.search(r"1 seeds, 0 failed; 8\.0 s, 8\.00 s a seed", capsys.readouterr().out)
