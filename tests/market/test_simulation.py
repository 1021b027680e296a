"""Many people at two instances, in any order, with any trouble: see `simulation`."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.market.simulation import simulate

# More: python -m tests.market.simulation --seeds 10000
BATCHES, SEEDS_EACH = 8, 25
# What a batch of runs must have met, or it has shown nothing.
MET = {"sale", "crash", "LISTING_CLOSED", "OFFER_CLOSED", "UNAVAILABLE", "NOT_OWNER", "ALREADY_LISTED"}


@pytest.mark.parametrize("batch", range(BATCHES))
def test_any_interleaving_with_any_trouble(batch: int) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(batch * SEEDS_EACH, (batch + 1) * SEEDS_EACH):
        outcomes += simulate(seed)
    assert set(outcomes) >= MET
