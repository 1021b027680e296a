"""What a picture must be: at least 1080 pixels on its shorter side, 16:9, 4:3 or 1:1 within 1 %."""

from __future__ import annotations

from dataclasses import dataclass

from services.content.domain.containers import Outline
from services.content.domain.failures import AspectUnsupported, TooManyPixels, TooSmall
from services.content.domain.looks import Look
from services.content.domain.values import Sha256

FILE_BYTES_MAX = 10_000_000
SHORTER_SIDE_PX_MIN = 1080
ASPECTS = ((16, 9), (4, 3), (1, 1))
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class PictureBounds:
    """How much a picture may unpack to: of one frame, and of all together."""

    pixels_max: int = 50_000_000
    frames_max: int = 60
    frame_pixels_max: int = 250_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """An accepted picture; width and height as shown, that is, turned as its EXIF data says."""

    mime: str
    width: int
    height: int
    size_bytes: int
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Inspection:
    """What decoding told of a picture that keeps the rules."""

    mime: str
    width: int
    height: int
    look: Look


def require_bearable(outline: Outline, bounds: PictureBounds) -> None:
    """Raises TooManyPixels, before anything is unpacked."""
    pixels = outline.width * outline.height
    if pixels > bounds.pixels_max:
        raise TooManyPixels(pixels=pixels, maximum=bounds.pixels_max)
    if pixels * outline.frames > bounds.frame_pixels_max:
        raise TooManyPixels(pixels=pixels * outline.frames, maximum=bounds.frame_pixels_max)


def require_shape(width: int, height: int) -> None:
    """Raises TooSmall, AspectUnsupported."""
    if min(width, height) < SHORTER_SIDE_PX_MIN:
        raise TooSmall(width=width, height=height)
    for across, down in ASPECTS:
        if abs(width * down / (height * across) - 1) <= ASPECT_TOLERANCE:
            return
    raise AspectUnsupported(width=width, height=height)
