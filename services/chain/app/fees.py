"""The fee rate: what miners ask for at the moment, within what we allow."""

from __future__ import annotations

from typing import Protocol

from mesh import logs, telemetry
from services.chain.domain.failures import NodeUnavailable

log = logs.logger(__name__)

_rate = telemetry.gauge("chain.fee.sats_per_kb", "Fee rate of our transactions.", unit="{sat}")


class FeeQuotes(Protocol):
    """Who says what miners ask for."""

    async def sats_per_kb(self) -> int:
        """The lowest fee that is mined, for 1,000 bytes. Raises NodeUnavailable."""
        ...


class FeeRate:
    """Satoshis for 1,000 bytes: the last quote, never below `least` and never above `most`."""

    def __init__(self, least: int, most: int = 0, quotes: FeeQuotes | None = None) -> None:
        self._least = least
        self._most = max(least, most)
        self._quotes = quotes
        self.sats_per_kb = least

    async def refresh(self) -> None:
        """Asks for a quote; without an answer the last one stays."""
        if self._quotes is None:
            return
        try:
            quoted = await self._quotes.sats_per_kb()
        except NodeUnavailable as problem:
            log.warning("no fee quote", problem=problem.message)
            return
        if quoted > self._most:
            log.error("the fee asked for is above what is allowed", asked=quoted, allowed=self._most)
        self.sats_per_kb = min(max(quoted, self._least), self._most)
        _rate.set(self.sats_per_kb)
