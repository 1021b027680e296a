"""The first hundred seeds. The second hundred is in a file of its own, for another processor."""

from __future__ import annotations

import pytest

from tests.simulation.run import simulate


@pytest.mark.parametrize("seed", range(1, 101))
def test_seed(seed: int) -> None:
    simulate(seed).check()
