"""Decodes a film whole, measures it, takes the poster from its middle. Runs in the workshop's process only.

Brightness is read from the luma plane at an eighth of the size: decoding is nearly all of the cost.
"""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.content.domain.films import (
    ANALYSIS_HEIGHT,
    ANALYSIS_WIDTH,
    DURATION_S_MAX,
    FRAMES_PER_S,
    FilmFacts,
    Measured,
    assess,
    unreadable,
)

FRAMES_MAX = int(DURATION_S_MAX * FRAMES_PER_S) + 1
SIDE_PX_MAX = 4096
POSTER_SIZE = (1280, 720)
POSTER_BYTES_MAX = 200_000
POSTER_QUALITIES = (88, 80, 70, 60, 50, 40, 30, 20)

EIGHT_BIT_LUMA = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}

Grey = NDArray[np.uint8]


def measure(film: Path, poster: Path) -> FilmFacts:
    """What the film is and how good; writes the poster when there are no problems."""
    cv2.setNumThreads(1)
    try:
        measured, middle = _watch(film)
    except (av.FFmpegError, ValueError, OSError) as problem:
        return unreadable(f"it does not decode: {type(problem).__name__}")
    facts = assess(measured)
    if not facts.problems and middle is not None:
        _write_poster(middle, poster)
    return facts


def _watch(film: Path) -> tuple[Measured, Image.Image | None]:
    stamps: list[float] = []
    changes: list[float] = []
    brightness: list[float] = []
    spread: list[float] = []
    middle, before = None, None
    with av.open(str(film), format="mp4") as container:
        if len(container.streams.video) != 1:
            raise ValueError("not one video stream")
        stream = container.streams.video[0]
        if max(stream.width, stream.height) > SIDE_PX_MAX or not 0 < stream.frames <= FRAMES_MAX:
            raise ValueError("too large, or of unknown length")
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.pts is None or frame.is_corrupt or len(stamps) > FRAMES_MAX:
                raise ValueError("a damaged frame")
            small = _small_luma(frame)
            if before is not None:
                changes.append(float(cv2.absdiff(small, before).mean()))
            brightness.append(float(small.mean()))
            spread.append(float(small.std()))
            if len(stamps) == stream.frames // 2:
                middle = Image.fromarray(frame.to_ndarray(format="rgb24"))
            stamps.append(frame.time)
            before = small
        measured = Measured(
            codec=stream.codec_context.name,
            width=stream.width,
            height=stream.height,
            frames_promised=stream.frames,
            stamps_s=tuple(stamps),
            changes=tuple(changes),
            brightness=tuple(brightness),
            spread=tuple(spread),
        )
    return measured, middle


def _small_luma(frame: av.VideoFrame) -> Grey:
    if frame.format.name not in EIGHT_BIT_LUMA:
        frame = frame.reformat(format="yuv420p")
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    small = cv2.resize(luma, (ANALYSIS_WIDTH, ANALYSIS_HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _write_poster(middle: Image.Image, poster: Path) -> None:
    small = middle.resize(POSTER_SIZE, Image.Resampling.BICUBIC, reducing_gap=2.0)
    for quality in POSTER_QUALITIES:
        small.save(poster, "JPEG", quality=quality, optimize=True, progressive=True)
        if poster.stat().st_size <= POSTER_BYTES_MAX:
            return
    raise ValueError("the poster stays too large")
