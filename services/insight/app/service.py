"""What others may ask of insight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.clock import Clock
from mesh.pages import PageTokenInvalid, page_token, read_page_token
from services.insight.app.listening import Listening
from services.insight.app.ports import Facts
from services.insight.app.tallies import Tallies
from services.insight.domain.facts import NS_PER_S, Fact
from services.insight.domain.failures import MetricNotFound
from services.insight.domain.metrics import BY_NAME, METRICS, Aggregation, Metric
from services.insight.domain.series import (
    BUCKET_S,
    CHUNK_S,
    Chunk,
    Range,
    checked_range,
    last_value,
    points,
)

PAGE_DEFAULT = 50
# Chunks looked through for one page of events; an empty page with a token says: go on.
CHUNKS_PER_PAGE = 500
# How far back the value is looked for that a LAST metric held before a range: a day.
LOOK_BACK = 24 * 3_600 // CHUNK_S
LIVE_WINDOW_S = 60
# Ranges of events are bounded as those of series with this step.
EVENTS_STEP_S = 3_600
_PLACE = re.compile(r"([0-9]{1,12})\.([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Series:
    """A metric over time."""

    metric: Metric
    over: Range
    values: list[int]
    complete_until_ns: int


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """A fact with its id and time."""

    id: str
    at_ns: int
    fact: Fact


class Insight:
    """Series, the events behind them, and the newest values."""

    def __init__(self, *, facts: Facts, tallies: Tallies, listening: Listening, clock: Clock) -> None:
        self._facts = facts
        self._tallies = tallies
        self._listening = listening
        self._clock = clock

    async def series(self, names: Sequence[str], *, start_ns: int, end_ns: int, step_s: int) -> list[Series]:
        """The metrics that exist, in the order asked. Raises RangeInvalid."""
        over = self._range(start_ns, end_ns, step_s)
        metrics = [BY_NAME[name] for name in names if name in BY_NAME]
        chunks = await self._tallies.chunks(over.chunks())
        complete_until_ns = self._listening.complete_until_ns()
        return [
            Series(
                metric, over, points(metric, over, chunks, await self._held(metric, over)), complete_until_ns
            )
            for metric in metrics
        ]

    async def one_series(self, name: str, *, start_ns: int, end_ns: int, step_s: int) -> Series:
        """One metric. Raises MetricNotFound, RangeInvalid."""
        _known(name)
        found = await self.series([name], start_ns=start_ns, end_ns=end_ns, step_s=step_s)
        return found[0]

    async def events(
        self, name: str, *, start_ns: int, end_ns: int, size: int, token: str
    ) -> tuple[list[SourceEvent], str]:
        """The facts behind a metric, oldest first, and the next page's token.

        Raises MetricNotFound, RangeInvalid, PageTokenInvalid.
        """
        _known(name)
        size = size or PAGE_DEFAULT
        chunks = self._range(start_ns, end_ns, EVENTS_STEP_S).chunks()
        scope = f"events {name}/{start_ns}/{end_ns}"
        place = read_page_token(scope, token)
        first, skip = _place(place) if place else (chunks.start, 0)
        if first not in chunks:
            raise PageTokenInvalid
        found: list[SourceEvent] = []
        end = min(first + CHUNKS_PER_PAGE, chunks.stop)
        for number in range(first, end):
            events = await self._events_in(number, name, start_ns, end_ns)
            room = size - len(found)
            found += events[skip : skip + room]
            if len(events) > skip + room:
                return found, page_token(scope, f"{number}.{skip + room}")
            skip = 0
        return found, page_token(scope, f"{end}.0" if end < chunks.stop else "")

    async def now(self) -> dict[str, int]:
        """The values of the last minute, and of LAST metrics the newest."""
        now_s = self._clock.now_ns() // NS_PER_S
        end_s = now_s // BUCKET_S * BUCKET_S + BUCKET_S
        over = Range(end_s - LIVE_WINDOW_S, end_s, LIVE_WINDOW_S)
        chunks = await self._tallies.chunks(over.chunks())
        return {
            metric.name: points(metric, over, chunks, await self._held(metric, over))[0] for metric in METRICS
        }

    async def _events_in(self, number: int, name: str, start_ns: int, end_ns: int) -> list[SourceEvent]:
        batches = await self._facts.in_chunk(number)
        batches.sort(key=lambda batch: (batch.at_ns, batch.id))
        return [
            SourceEvent(batch.fact_id(index), batch.at_ns, fact)
            for batch in batches
            if start_ns <= batch.at_ns < end_ns
            for index, fact in enumerate(batch.facts)
            if fact.metric == name
        ]

    async def _held(self, metric: Metric, over: Range) -> int:
        """What a LAST metric held when the range began."""
        if metric.aggregation is not Aggregation.LAST:
            return 0
        first = over.start_s // CHUNK_S
        for number in range(first, max(first - LOOK_BACK, self._tallies.began - 1), -1):
            for chunk in await self._tallies.chunks(range(number, number + 1)):
                value = _value_before(metric, chunk, over.start_s)
                if value is not None:
                    return value
        return 0

    def _range(self, start_ns: int, end_ns: int, step_s: int) -> Range:
        return checked_range(start_ns=start_ns, end_ns=end_ns, step_s=step_s, now_ns=self._clock.now_ns())


def _value_before(metric: Metric, chunk: Chunk, start_s: int) -> int | None:
    earlier = Chunk(chunk.number)
    earlier.newest = {
        metric.name: {
            bucket: value
            for bucket, value in chunk.newest.get(metric.name, {}).items()
            if chunk.number * CHUNK_S + bucket * BUCKET_S < start_s
        }
    }
    return last_value(metric, earlier)


def _known(name: str) -> Metric:
    if name not in BY_NAME:
        raise MetricNotFound(f"no metric is named {name!r}")
    return BY_NAME[name]


def _place(place: str) -> tuple[int, int]:
    """The chunk, and how many of its events were shown. Raises PageTokenInvalid."""
    found = _PLACE.fullmatch(place)
    if found is None:
        raise PageTokenInvalid
    return int(found[1]), int(found[2])
