"""Which outside sources are believed: one that lies or lags is left out for a while, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh import logs, telemetry
from mesh.clock import Clock

log = logs.logger(__name__)

LIED_S, LAGGED_S, UNSEEN_S = 600.0, 60.0, 600.0
"""For how long a source is left out: for a lie, for being behind, for a yes that nobody else saw."""

_usable = telemetry.gauge(
    "chain.source.usable", "1 while the source answers and is believed.", unit="{state}", by=("source",)
)
_left_out = telemetry.counter(
    "chain.source.left_out", "Times that a source was left out, by why.", unit="{time}", by=("source",)
)


@dataclass(slots=True)
class _Standing:
    until_s: float = 0.0
    usable: bool | None = None


class Trust:
    """Standing of the sources. `tell` hears of every change: name, and whether it is used."""

    def __init__(self, clock: Clock, tell: Callable[[str, bool], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._sources: dict[str, _Standing] = {}

    def has(self, name: str) -> bool:
        """Whether the source is believed now."""
        return self._clock.monotonic_s() >= self._of(name).until_s

    def lose(self, name: str, why: str, seconds: float) -> None:
        """The source is left out for so long."""
        log.error("a source is left out", source=name, why=why, seconds=seconds)
        _left_out.add(1, {"source": name})
        self._of(name).until_s = self._clock.monotonic_s() + seconds
        self._set(name, usable=False)

    def answered(self, name: str) -> None:
        """The source gave an answer that holds."""
        self._set(name, usable=True)

    def failed(self, name: str, why: str) -> None:
        """The source gave none."""
        if self._of(name).usable is not False:
            log.warning("a source does not answer", source=name, why=why)
        self._set(name, usable=False)

    def _set(self, name: str, *, usable: bool) -> None:
        standing = self._of(name)
        if standing.usable is usable:
            return
        if usable and standing.usable is False:
            log.info("a source is back", source=name)
        standing.usable = usable
        _usable.set(int(usable), {"source": name})
        self._tell(name, usable)

    def _of(self, name: str) -> _Standing:
        return self._sources.setdefault(name, _Standing())
