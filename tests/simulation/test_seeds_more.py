"""The second hundred seeds."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation import coverage
from tests.simulation.run import simulate

SEEDS = range(101, 201)
occurred = Counter[str]()


@pytest.mark.parametrize("seed", SEEDS)
def test_seed(seed: int) -> None:
    report = simulate(seed)
    report.check()
    occurred.update(report.counts, seeds=1)


def test_all_kinds_of_faults_occurred() -> None:
    if occurred["seeds"] < len(SEEDS):
        pytest.skip("not all seeds ran before")
    assert coverage.missing(occurred) == []
