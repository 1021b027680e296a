"""What waits for a reader is counted where it is left out."""

from __future__ import annotations

import pytest

from graphql_gateway.live import backlog
from graphql_gateway.live.backlog import BACKLOG_MAX, Backlog, FellBehind


class Counter:
    """Keeps what is added."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, count: int) -> None:
        self.total += count


def test_what_is_left_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    conflated, fell_behind = Counter(), Counter()
    monkeypatch.setattr(backlog, "_conflated", conflated)
    monkeypatch.setattr(backlog, "_fell_behind", fell_behind)
    states: Backlog[int] = Backlog()
    for state in range(3):
        states.put(state, "standings")
    assert (states.take(), states.replaced, conflated.total) == (2, 2, 2)
    news: Backlog[int] = Backlog()
    for number in range(BACKLOG_MAX + 5):
        news.put(number)
    # Once for each who falls behind, however much it misses.
    assert (fell_behind.total, conflated.total) == (1, 2)
    assert [news.take() for _ in range(BACKLOG_MAX)] == list(range(BACKLOG_MAX))
    with pytest.raises(FellBehind):
        news.take()
