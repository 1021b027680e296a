"""Candles: the sales of a meme in one hour or day of UTC, as open, high, low, close, volume and number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from mesh.clock import NS_PER_S
from services.market.domain.failures import SeriesRangeInvalid
from services.market.domain.sales import Sale
from services.market.domain.values import MemeId, Sats

STEPS_MAX = 1_000


class Step(IntEnum):
    """Length of a step, in seconds."""

    HOUR = 3_600
    DAY = 24 * 3_600

    @property
    def ns(self) -> int:
        """Its length in nanoseconds."""
        return self * NS_PER_S


@dataclass(frozen=True, slots=True)
class Place:
    """Which candle: the step that begins `index` steps after 1970."""

    meme_id: MemeId
    step: Step
    index: int

    @property
    def starts_ns(self) -> int:
        """Where it begins."""
        return self.index * self.step.ns


@dataclass(frozen=True, slots=True)
class Candle:
    """The sales within one step. `last_number` is the number of the last: sales come in their order."""

    open_sats: Sats
    high_sats: Sats
    low_sats: Sats
    close_sats: Sats
    volume_sats: Sats
    sales: int
    last_number: int


def places_of(sale: Sale) -> tuple[Place, ...]:
    """The candles that a sale is in."""
    return tuple(Place(sale.meme_id, step, sale.sold_ns // step.ns) for step in Step)


def adding(candle: Candle | None, sale: Sale) -> Candle:
    """The candle with the sale; the same when it holds it already."""
    price = sale.price_sats
    if candle is None:
        return Candle(price, price, price, price, price, 1, sale.number)
    if sale.number <= candle.last_number:
        return candle
    return Candle(
        open_sats=candle.open_sats,
        high_sats=max(candle.high_sats, price),
        low_sats=min(candle.low_sats, price),
        close_sats=price,
        volume_sats=Sats(candle.volume_sats + price),
        sales=candle.sales + 1,
        last_number=sale.number,
    )


def places_between(meme_id: MemeId, step: Step, start_ns: int, end_ns: int) -> Sequence[Place]:
    """All steps that have a moment from `start_ns` on, before `end_ns`. Raises SeriesRangeInvalid."""
    first, behind = start_ns // step.ns, -(-end_ns // step.ns)
    if start_ns >= end_ns or behind - first > STEPS_MAX:
        raise SeriesRangeInvalid(maximum=STEPS_MAX)
    return [Place(meme_id, step, index) for index in range(first, behind)]
