"""What a film must be, and how good it is: rules over what was measured of it.

    score = 0.25 timing + 0.30 smoothness + 0.20 evenness + 0.10 motion + 0.15 contrast      (all 0..1)

timing: share of frames that follow the one before at 1/30 s, within a tenth of it. smoothness: share of steps
from frame to frame whose change is like that of the steps around it: neither a jump nor a freeze. evenness:
how alike they are, on average. motion: median change per step against MOTION_FULL. contrast: median spread of
brightness against CONTRAST_FULL. A film that breaks a limit below is refused whatever its score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from statistics import fmean, median

from services.content.domain.values import PPM

CODEC = "h264"
WIDTH, HEIGHT = 1920, 1080
FRAMES_PER_S = 30.0
RATE_TOLERANCE = 0.1  # frames per second
STEP_TOLERANCE = 0.1  # of the time between frames
TIMING_MIN = SMOOTHNESS_MIN = 0.95
DURATION_S_MIN, DURATION_S_MAX = 0.5, 60.0

# Changes are mean differences of brightness, 0..255, between neighbouring frames at ANALYSIS size.
ANALYSIS_WIDTH, ANALYSIS_HEIGHT = 192, 108
CHANGE_FLOOR = 0.2  # below it a step is as good as still: encoders alone change that much
UNEVEN_FACTOR = 2.5
NEIGHBOURS = 4  # steps on either side that a step is held against
MOVING_SHARE_MIN = 0.25
MOTION_FULL = 2.0
BLACK_BRIGHTNESS_MAX, BLACK_SPREAD_MAX = 24.0, 6.0
BLACK_SHARE_MAX = 0.5
CONTRAST_FULL = 64.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What decoding gave: `stamps_s` when each frame is shown, `changes` one per step between frames."""

    codec: str
    width: int
    height: int
    frames_promised: int
    stamps_s: tuple[float, ...]
    changes: tuple[float, ...]
    brightness: tuple[float, ...]
    spread: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """The measurements that are kept, and the verdict: `problems` is empty when no limit is broken."""

    codec: str
    width: int
    height: int
    frame_rate: float
    frames: int
    duration_ms: int
    timing_regularity: float
    motion_smoothness: float
    quality_ppm: int
    problems: tuple[str, ...]


def assess(measured: Measured) -> FilmFacts:
    """Holds the measurements against the limits and scores them."""
    frames = len(measured.stamps_s)
    steps_s = [after - before for before, after in pairwise(measured.stamps_s)]
    span_s = sum(steps_s)
    rate = len(steps_s) / span_s if span_s > 0 else 0.0
    timing = _share(abs(step * FRAMES_PER_S - 1) <= STEP_TOLERANCE for step in steps_s)
    ratios = _ratios(measured.changes)
    smoothness = _share(1 / UNEVEN_FACTOR <= ratio <= UNEVEN_FACTOR for ratio in ratios)
    evenness = fmean(max(0.0, 1 - abs(log(ratio, UNEVEN_FACTOR))) for ratio in ratios) if ratios else 0.0
    black = _share(map(_is_black, measured.brightness, measured.spread))
    motion = min(1.0, median(measured.changes or (0.0,)) / MOTION_FULL)
    contrast = min(1.0, median(measured.spread or (0.0,)) / CONTRAST_FULL)
    score = 0.25 * timing + 0.30 * smoothness + 0.20 * evenness + 0.10 * motion + 0.15 * contrast
    duration_s = span_s + 1 / FRAMES_PER_S if frames else 0.0
    limits = {
        f"codec {measured.codec}, not {CODEC}": measured.codec == CODEC,
        f"{measured.width}x{measured.height}, not {WIDTH}x{HEIGHT}": (measured.width, measured.height)
        == (WIDTH, HEIGHT),
        f"{frames} of {measured.frames_promised} frames decoded": frames == measured.frames_promised > 1,
        f"{rate:.2f} frames per second, not {FRAMES_PER_S:.0f}": abs(rate - FRAMES_PER_S) <= RATE_TOLERANCE,
        f"{duration_s:.2f} s long, not {DURATION_S_MIN} to {DURATION_S_MAX}": DURATION_S_MIN
        <= duration_s
        <= DURATION_S_MAX,
        f"frame timing {timing:.3f}, at least {TIMING_MIN}": timing >= TIMING_MIN,
        f"black for {black:.0%}": black <= BLACK_SHARE_MAX,
        "a still picture": _share(change > CHANGE_FLOOR for change in measured.changes) >= MOVING_SHARE_MIN,
        f"motion smoothness {smoothness:.3f}, at least {SMOOTHNESS_MIN}": smoothness >= SMOOTHNESS_MIN,
    }
    return FilmFacts(
        codec=measured.codec,
        width=measured.width,
        height=measured.height,
        frame_rate=round(rate, 3),
        frames=frames,
        duration_ms=round(duration_s * 1000),
        timing_regularity=round(timing, 6),
        motion_smoothness=round(smoothness, 6),
        quality_ppm=round(min(1.0, score) * PPM),
        problems=tuple(problem for problem, kept in limits.items() if not kept),
    )


def unreadable(why: str) -> FilmFacts:
    """The verdict on a file that is no film."""
    return FilmFacts("", 0, 0, 0.0, 0, 0, 0.0, 0.0, 0, (why,))


def _ratios(changes: Sequence[float]) -> list[float]:
    """Of each step, its change against the median of those around it; 1 is like them."""
    ratios = []
    for number, change in enumerate(changes):
        first, following = max(0, number - NEIGHBOURS), number + 1
        around = (*changes[first:number], *changes[following : following + NEIGHBOURS])
        ratios.append((change + CHANGE_FLOOR) / (median(around or (change,)) + CHANGE_FLOOR))
    return ratios


def _is_black(brightness: float, spread: float) -> bool:
    return brightness <= BLACK_BRIGHTNESS_MAX and spread <= BLACK_SPREAD_MAX


def _share(holds: Iterator[bool] | Sequence[bool]) -> float:
    found = list(holds)
    return sum(found) / len(found) if found else 0.0
