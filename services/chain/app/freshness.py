"""Whether our tip still is the chain's: when a source last confirmed it, and what competes with it."""

from __future__ import annotations

from mesh import logs, telemetry
from mesh.clock import Clock
from services.chain.domain.header import Block
from services.chain.domain.headers import HeaderChain

log = logs.logger(__name__)

NS_PER_S = 1_000_000_000

_age = telemetry.gauge(
    "chain.source.age", "Time since a source of the chain last confirmed our tip.", unit="s"
)


class Freshness:
    """What the sources of the chain last said of our tip.

    It is stale when none confirmed it for `stale_s`: they do not answer, lie, or are behind us; and when the
    network's next block is overdue so long that they must be cut off from it.
    """

    def __init__(self, *, chain: HeaderChain, clock: Clock, stale_s: float) -> None:
        self._chain = chain
        self._clock = clock
        self._stale_s = stale_s
        self._began_ns = clock.now_ns()
        # An age is told by a clock that nobody sets.
        self._confirmed_s = clock.monotonic_s()
        self._told = False
        self.confirmed_ns = 0
        self._rival: Block | None = None

    @property
    def rival(self) -> Block | None:
        """Another tip with as much work as ours, seen after it."""
        rival = self._rival
        return rival if rival is not None and rival.work == self._chain.tip.work else None

    def confirm(self, rival: Block | None = None) -> None:
        """A source has our tip as its best block, or this one with the same work."""
        self.confirmed_ns, self._confirmed_s = self._clock.now_ns(), self._clock.monotonic_s()
        if rival is not None and rival != self._rival:
            log.warning("competing tip", ours=self._chain.tip.hash, other=rival.hash, height=rival.height)
            self._rival = rival

    @property
    def age_s(self) -> float:
        """Time since our tip was confirmed, or since this term began."""
        return self._clock.monotonic_s() - self._confirmed_s

    @property
    def stale(self) -> bool:
        """Whether our tip may no longer be the chain's."""
        return self.age_s > self._stale_s or self._overdue

    @property
    def _overdue(self) -> bool:
        limit_s = self._chain.consensus.overdue_s
        if limit_s is None:
            return False
        newest_ns = max(self._began_ns, self._chain.tip.seen_at_ns)
        return self._clock.now_ns() - newest_ns > limit_s * NS_PER_S

    async def look(self) -> None:
        """Measures, and says once in the log when the tip becomes stale and when it no longer is."""
        _age.set(self.age_s)
        if self.stale and not self._told:
            unconfirmed_s, tip = round(self.age_s), self._chain.tip.hash
            log.error("the tip is stale", tip=tip, unconfirmed_s=unconfirmed_s, overdue=self._overdue)
        elif self._told and not self.stale:
            log.info("the tip is confirmed again", tip=self._chain.tip.hash)
        self._told = self.stale
