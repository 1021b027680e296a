"""Metrics, each declared once where it is measured: its name, unit, meaning and attributes.

What is declared is also what docs/METRICS.md lists (`python -m tools.metrics`), and the only thing that
dashboards and alerts may ask for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

# The SDK's own buckets are meant for milliseconds.
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_meter = metrics.get_meter("mesh")


class Kind(StrEnum):
    """How the points of a metric go together."""

    COUNTER = "counter"
    GAUGE = "gauge"
    UP_DOWN = "up and down"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """What is declared of a metric. Units are UCUM's; what is counted stands in braces."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    by: tuple[str, ...]
    declared_in: str


# By name; filled as modules are imported.
DECLARED: dict[str, Metric] = {}


def _declare(name: str, kind: Kind, unit: str, meaning: str, by: tuple[str, ...]) -> None:
    if name in DECLARED:
        raise ValueError(f"the metric {name} is declared twice")
    DECLARED[name] = Metric(name, kind, unit, meaning, by, _caller())


def _caller() -> str:
    """The module that declares: behind this function, `_declare`, and the one that it called."""
    return str(sys._getframe(3).f_globals["__name__"])  # noqa: SLF001 - inspect would read source files


def counter(name: str, meaning: str, *, unit: str, by: tuple[str, ...] = ()) -> metrics.Counter:
    """What only grows: `.add(1, {attribute: value})`."""
    _declare(name, Kind.COUNTER, unit, meaning, by)
    return _meter.create_counter(name, unit=unit, description=meaning)


def gauge(name: str, meaning: str, *, unit: str, by: tuple[str, ...] = ()) -> metrics._Gauge:
    """A value as it was told last: `.set(value)`."""
    _declare(name, Kind.GAUGE, unit, meaning, by)
    return _meter.create_gauge(name, unit=unit, description=meaning)


def up_down(name: str, meaning: str, *, unit: str, by: tuple[str, ...] = ()) -> metrics.UpDownCounter:
    """How many there are: `.add(1)` when one comes, `.add(-1)` when it goes."""
    _declare(name, Kind.UP_DOWN, unit, meaning, by)
    return _meter.create_up_down_counter(name, unit=unit, description=meaning)


def durations(
    name: str,
    meaning: str,
    *,
    by: tuple[str, ...] = (),
    buckets_s: tuple[float, ...] = DURATION_BUCKETS_S,
) -> metrics.Histogram:
    """A histogram of seconds: `.record(seconds)`. Inside a sampled trace a point names it (an exemplar)."""
    _declare(name, Kind.HISTOGRAM, "s", meaning, by)
    return _meter.create_histogram(
        name, unit="s", description=meaning, explicit_bucket_boundaries_advisory=buckets_s
    )


def observed(
    name: str,
    meaning: str,
    look: Callable[[], Iterable[tuple[float, dict[str, str]]]],
    *,
    unit: str,
    kind: Kind = Kind.GAUGE,
    by: tuple[str, ...] = (),
) -> None:
    """A value looked at when metrics leave, in a thread of its own: `look` gives values and attributes."""
    _declare(name, kind, unit, meaning, by)

    def observations(_: CallbackOptions) -> Iterator[Observation]:
        for value, attributes in look():
            yield Observation(value, attributes)

    create = {
        Kind.COUNTER: _meter.create_observable_counter,
        Kind.GAUGE: _meter.create_observable_gauge,
        Kind.UP_DOWN: _meter.create_observable_up_down_counter,
    }[kind]
    create(name, [observations], unit=unit, description=meaning)
