"""Is a history of reads and writes linearizable? With the journal at hand that is easy to say.

The journal puts all writes in one order, and every read says up to which record it has seen. That orders all
operations: by record, a write before the reads of its record. The history is linearizable if in this order

- every read returned what the writes before it make;
- nothing stands before an operation that had ended when it began: a read must reflect all that was answered
  before, and no write that was still to come.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Write:
    """Something that was asked for. It never ended (math.inf) when nobody was told how it ended."""

    name: str
    began_s: float
    ended_s: float
    # Its record in the journal; None when it is in none.
    sequence: int | None

    @property
    def acknowledged(self) -> bool:
        """Whether somebody was told."""
        return self.ended_s < math.inf


@dataclass(frozen=True, slots=True)
class Read(Generic[State]):
    """What was read, with the newest record that it says to reflect, and how much older it may be."""

    name: str
    began_s: float
    ended_s: float
    sequence: int
    seen: State
    # None: a linearizable read. Otherwise it reflects all that was answered longer ago than this.
    staleness_s: float | None = None


def problems(writes: Iterable[Write], reads: Sequence[Read[State]], states: Mapping[int, State]) -> list[str]:
    """What is wrong, in words; `states` are those behind each record of the journal."""
    found = [
        f"{write.name} was acknowledged and is not in the journal"
        for write in writes
        if write.sequence is None and write.acknowledged
    ]
    for read in reads:
        if read.sequence not in states:
            found.append(f"{read.name} saw record {read.sequence}, which does not exist")
        elif states[read.sequence] != read.seen:
            found.append(f"{read.name} saw {read.seen} at {read.sequence}: it was {states[read.sequence]}")
    found += _out_of_time([write for write in writes if write.sequence is not None], reads)
    return found


@dataclass(frozen=True, slots=True)
class _Done:
    ended_s: float
    sequence: int
    name: str


def _out_of_time(writes: Sequence[Write], reads: Sequence[Read[State]]) -> list[str]:
    """Operations that stand before one that had ended when they began."""
    strict = [read for read in reads if read.staleness_s is None]
    answered = [_Done(w.ended_s, w.sequence or 0, w.name) for w in writes if w.acknowledged]
    told = _Newest(answered)
    # What anybody saw was committed by then, whatever it was older than.
    newest = _Newest(answered + [_Done(read.ended_s, read.sequence, read.name) for read in reads])
    found = [
        f"{read.name} saw {read.sequence} after {before.name} had ended at {before.sequence}"
        for read in strict
        if (before := newest.at(read.began_s)) and read.sequence < before.sequence
    ]
    found += [
        f"{write.name} became record {write.sequence} after {before.name} had ended at {before.sequence}"
        for write in writes
        if (before := newest.at(write.began_s)) and (write.sequence or 0) <= before.sequence
    ]
    found += [
        f"{read.name} saw {read.sequence}, older than it says: {before.name} was {before.sequence}"
        for read in reads
        if read.staleness_s is not None
        and (before := told.at(read.began_s - read.staleness_s))
        and read.sequence < before.sequence
    ]
    return found


class _Newest:
    """Of what had ended before a moment, that with the greatest record."""

    def __init__(self, done: Iterable[_Done]) -> None:
        self._ends: list[float] = []
        self._greatest: list[_Done] = []
        for one in sorted(done, key=lambda one: one.ended_s):
            greatest = self._greatest[-1] if self._greatest else one
            self._ends.append(one.ended_s)
            self._greatest.append(max(greatest, one, key=lambda one: one.sequence))

    def at(self, moment_s: float) -> _Done | None:
        place = bisect_left(self._ends, moment_s)
        return self._greatest[place - 1] if place else None
