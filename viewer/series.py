"""Lines of a chart out of points: values as they are, counters and histograms by how fast they grow."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from viewer.store import Point

Line = list[tuple[int, float]]


def lines_of(points: Sequence[Point]) -> list[tuple[str, dict[str, Line]]]:
    """Titles of charts, and their lines by what they are of, the largest first.

    Each instance counts for itself: where a part has several, each has lines of its own.
    """
    kind, unit = points[0].kind, plain(points[0].unit)
    instances = Counter(service for service, _ in {(point.service, point.instance) for point in points})
    series: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        series[_label(point, is_one_of_several=instances[point.service] > 1)].append(point)
    if kind == "gauge":
        return [(unit, _largest({name: [(p.at_ns, p.value) for p in all_] for name, all_ in series.items()}))]
    if kind == "counter":
        return [(f"{unit} a second", _largest({name: _rates(all_) for name, all_ in series.items()}))]
    return [
        ("a second", _largest({name: _counts(all_) for name, all_ in series.items()})),
        (f"mean, {unit}", _largest({name: _means(all_) for name, all_ in series.items()})),
    ]


def plain(unit: str) -> str:
    """A unit of UCUM for people: what is counted stands in braces there ("{sat}")."""
    return unit.strip("{}")


def _label(point: Point, *, is_one_of_several: bool) -> str:
    part = f"{point.service}@{point.instance}" if is_one_of_several else point.service
    return " ".join([part, *(f"{name}={value}" for name, value in json.loads(point.by).items())])


def _largest(lines: dict[str, Line]) -> dict[str, Line]:
    return dict(sorted(lines.items(), key=lambda item: -max((value for _, value in item[1]), default=0)))


def _rates(points: Sequence[Point]) -> Line:
    return [
        (now.at_ns, (now.value - before.value) / ((now.at_ns - before.at_ns) / 1e9))
        for before, now in pairwise(points)
        # Less than before: the process has begun anew.
        if now.at_ns > before.at_ns and now.value >= before.value
    ]


def _counts(points: Sequence[Point]) -> Line:
    return [
        (now.at_ns, (now.count - before.count) / ((now.at_ns - before.at_ns) / 1e9))
        for before, now in pairwise(points)
        if now.at_ns > before.at_ns and now.count >= before.count
    ]


def _means(points: Sequence[Point]) -> Line:
    return [
        (now.at_ns, (now.value - before.value) / (now.count - before.count))
        for before, now in pairwise(points)
        if now.count > before.count and now.value >= before.value
    ]
