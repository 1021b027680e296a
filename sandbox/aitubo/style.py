"""The image job: the same picture in another manner, drawn anew with edges, flat colours and a tint."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sandbox.aitubo.framing import Pixels, decode

SHORTER_SIDE_PX_MIN = 1080
SIDE_PX_MAX = 4096
QUALITY = 92
TONES = 9


@dataclass(frozen=True, slots=True)
class StyleOrder:
    """`strength` 0..1: how far from the original. `width` and `height`: the size asked for."""

    seed: int
    strength: float
    width: int
    height: int


def render_style(picture: bytes, order: StyleOrder, target: Path) -> None:
    """Write the restyled picture as JPEG. Raises PictureUnreadable; same picture and order, same result."""
    pixels = _sized(decode(picture), order)
    inked = _ink(_flat_colours(pixels), pixels)
    tinted = _tint(inked, random.Random(order.seed))  # noqa: S311 - a colour, not a secret
    strength = min(max(order.strength, 0.0), 1.0)
    mixed = cv2.addWeighted(tinted, strength, pixels, 1 - strength, 0)
    Image.fromarray(np.asarray(mixed, np.uint8)).save(target, "JPEG", quality=QUALITY)


def _sized(pixels: Pixels, order: StyleOrder) -> Pixels:
    """Covers the asked size, raised to full HD where less was asked."""
    enlarge = max(1.0, SHORTER_SIDE_PX_MIN / max(1, min(order.width, order.height)))
    width = min(SIDE_PX_MAX, round(order.width * enlarge))
    height = min(SIDE_PX_MAX, round(order.height * enlarge))
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    size = (max(width, round(pixels.shape[1] * scale)), max(height, round(pixels.shape[0] * scale)))
    grown = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(grown[top : top + height, left : left + width], np.uint8)


def _flat_colours(pixels: Pixels) -> Pixels:
    """Surfaces without texture, in few tones. Smoothed at half size, which nobody sees."""
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for _ in range(2):
        half = cv2.bilateralFilter(half, 7, 40, 7)
    smooth = cv2.resize(half, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    levels = np.arange(256, dtype=np.float32) / 255 * (TONES - 1)
    # Halfway between rounding and the original, so that gradients keep soft steps.
    table = ((np.round(levels) * 0.6 + levels * 0.4) / (TONES - 1) * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(smooth, table), np.uint8)


def _ink(colours: Pixels, pixels: Pixels) -> Pixels:
    """Dark lines along the edges of the original."""
    grey = cv2.medianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 7)
    lines = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 15, 5)
    soft = cv2.GaussianBlur(lines, (0, 0), 0.8).astype(np.float32)[..., None] / 255
    return np.asarray(colours * (0.25 + 0.75 * soft), np.uint8)


def _tint(pixels: Pixels, chance: random.Random) -> Pixels:
    """Warm or cool light, and richer colour."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = cv2.LUT(hsv[..., 1], np.clip(np.arange(256) * 1.25, 0, 255).astype(np.uint8))
    warmth = chance.uniform(-0.12, 0.12)
    gain = np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
    return np.asarray(np.clip(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * gain, 0, 255), np.uint8)
