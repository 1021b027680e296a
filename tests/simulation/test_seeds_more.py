"""The second hundred seeds."""

from __future__ import annotations

import pytest

from tests.simulation.run import simulate


@pytest.mark.parametrize("seed", range(101, 201))
def test_seed(seed: int) -> None:
    simulate(seed).check()
