"""The checker of histories finds what is wrong, and only that."""

from __future__ import annotations

import math
from random import Random

import pytest

from tests.ledger.failover.linearizable import Read, Write, problems

# Each record makes its number the state.
STATES = {number: number for number in range(5)}


def write(began_s: float, ended_s: float, sequence: int | None) -> Write:
    return Write(f"write {sequence}", began_s, ended_s, sequence)


def read(
    began_s: float, ended_s: float, sequence: int, seen: int | None = None, staleness_s: float | None = None
) -> Read[int]:
    return Read("read", began_s, ended_s, sequence, sequence if seen is None else seen, staleness_s)


@pytest.mark.parametrize(
    ("writes", "reads"),
    [
        ([], []),
        ([write(0, 1, 1), write(2, 3, 2)], [read(1.5, 1.8, 1), read(4, 5, 2)]),
        # While a write is under way it is seen or not.
        ([write(0, 9, 1)], [read(1, 2, 0), read(3, 4, 1), read(5, 6, 1)]),
        # Reads at the same time may differ either way.
        ([write(0, 9, 1)], [read(1, 5, 1), read(2, 4, 0)]),
        # Nobody was told: it may come at any later time, or never.
        ([write(0, math.inf, 1), write(3, 4, 2)], [read(1, 2, 0), read(5, 6, 2)]),
        ([write(0, math.inf, None)], [read(1, 2, 0)]),
        # Of one record, at the same time.
        ([write(0, 2, 1), write(1, 3, 1)], [read(4, 5, 1)]),
        # As old as it says, and back again.
        ([write(0, 1, 1), write(3, 4, 2)], [read(4.5, 5, 1, staleness_s=1), read(5, 6, 2, staleness_s=0)]),
        ([write(0, 1, 1)], [read(2, 3, 1), read(4, 5, 0, staleness_s=4)]),
    ],
)
def test_good_histories(writes: list[Write], reads: list[Read[int]]) -> None:
    assert problems(writes, reads, STATES) == []


@pytest.mark.parametrize(
    ("writes", "reads", "said"),
    [
        ([write(0, 1, None)], [], "acknowledged and is not in the journal"),
        ([write(0, 1, 1)], [read(2, 3, 0)], "saw 0 after write 1"),
        ([write(0, 9, 1)], [read(1, 2, 1), read(3, 4, 0)], "saw 0 after read"),
        ([write(3, 4, 1)], [read(1, 2, 1)], "became record 1 after read"),
        ([write(0, 1, 2), write(2, 3, 1)], [], "write 1 became record 1 after write 2"),
        ([write(0, 1, 1), write(2, 3, 1)], [], "write 1 became record 1 after write 1"),
        ([write(0, 1, 1)], [read(2, 3, 1, seen=0)], "saw 0 at 1: it was 1"),
        ([], [read(2, 3, 7)], "which does not exist"),
        ([write(0, 1, 1)], [read(5, 6, 0, staleness_s=3)], "older than it says"),
        ([write(3, 4, 1)], [read(1, 2, 1, staleness_s=1)], "became record 1 after read"),
        ([write(0, 9, 1)], [read(1, 2, 1, staleness_s=1), read(3, 4, 0)], "saw 0 after read"),
    ],
)
def test_bad_histories(writes: list[Write], reads: list[Read[int]], said: str) -> None:
    [found] = problems(writes, reads, STATES)
    assert said in found


def exists_order(writes: list[Write], reads: list[Read[int]]) -> bool:
    """Tries all orders in which an operation that had ended comes before those begun later (Wing and Gong).

    A write makes its record the state, and has to find the one before; a read has to find what it saw.
    """
    operations = [(w.began_s, w.ended_s, (w.sequence or 0) - 1, w.sequence or 0) for w in writes]
    operations += [(r.began_s, r.ended_s, r.seen, r.seen) for r in reads]
    dead_ends: set[tuple[frozenset[int], int]] = set()

    def search(left: frozenset[int], state: int) -> bool:
        if not left:
            return True
        if (left, state) in dead_ends:
            return False
        first_end_s = min(operations[number][1] for number in left)
        for number in left:
            began_s, _, needs, makes = operations[number]
            if began_s <= first_end_s and needs == state and search(left - {number}, makes):
                return True
        dead_ends.add((left, state))
        return False

    return search(frozenset(range(len(operations))), 0)


def test_it_says_what_a_search_through_all_orders_says() -> None:
    random = Random(7)
    verdicts = set()
    for _ in range(3_000):
        # Distinct moments, so that of two operations one ends before the other begins, or they overlap.
        moments = [float(moment) for moment in random.sample(range(40), 14)]
        spans = [(min(pair), max(pair)) for pair in zip(moments[::2], moments[1::2], strict=True)]
        spans[:3] = sorted(spans[:3])
        writes = [write(began_s, ended_s, number) for number, (began_s, ended_s) in enumerate(spans[:3], 1)]
        reads = [read(began_s, ended_s, random.randint(0, 3)) for began_s, ended_s in spans[3:]]
        good = problems(writes, reads, STATES) == []
        assert good == exists_order(writes, reads), (writes, reads)
        verdicts.add(good)
    assert verdicts == {True, False}
