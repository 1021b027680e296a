"""A picture of any shape on a 16:9 frame, and a guess at how far away each part of it is."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH = 1920
HEIGHT = 1080
PICTURE_PIXELS_MAX = 50_000_000
DEPTH_WIDTH = 240
DEPTH_HEIGHT = 135
BACKDROP_DIM = 0.55
CARD_PART = 0.88  # of the frame: what is left is room to move in
ASPECT_TOLERANCE = 0.02

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]


class PictureUnreadable(Exception):  # noqa: N818 - becomes a state of the job
    """The picture does not decode, or is too large to try."""


@dataclass(frozen=True, slots=True)
class Scene:
    """`pixels`: RGB, HEIGHT x WIDTH. `depth`: 0 far … 1 near, in low resolution."""

    pixels: Pixels
    depth: Field


def decode(data: bytes) -> Pixels:
    """The first frame as RGB. Raises PictureUnreadable."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > PICTURE_PIXELS_MAX:
                raise PictureUnreadable(f"{picture.width}x{picture.height} is too large")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureUnreadable(str(error)) from error


def compose(picture: Pixels) -> Scene:
    """16:9 fills the frame; other shapes float before a blurred, darker copy of themselves."""
    height, width = picture.shape[:2]
    cover = _fitted(picture, max(WIDTH / width, HEIGHT / height))
    backdrop = _centre_crop(cover)
    if abs(width / height * HEIGHT / WIDTH - 1) <= ASPECT_TOLERANCE:
        return Scene(backdrop, _depth(backdrop))
    card = _fitted(picture, min(WIDTH * CARD_PART / width, HEIGHT * CARD_PART / height))
    top, left = (HEIGHT - card.shape[0]) // 2, (WIDTH - card.shape[1]) // 2
    small = cv2.resize(backdrop, (WIDTH // 8, HEIGHT // 8), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(small, (0, 0), 6), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    pixels = (blurred * BACKDROP_DIM).astype(np.uint8)
    pixels[top : top + card.shape[0], left : left + card.shape[1]] = card
    return Scene(pixels, _card_depth(pixels, top, left))


def _fitted(picture: Pixels, scale: float) -> Pixels:
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _centre_crop(picture: Pixels) -> Pixels:
    top, left = (picture.shape[0] - HEIGHT) // 2, (picture.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(picture[top : top + HEIGHT, left : left + WIDTH])


def _depth(pixels: Pixels) -> Field:
    """Near is what stands in the middle, stands out in colour, or stands low. Smooth: things stay whole."""
    small = cv2.resize(pixels, (DEPTH_WIDTH, DEPTH_HEIGHT), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    edge = np.concatenate([lab[:8].reshape(-1, 3), lab[:, :8].reshape(-1, 3), lab[:, -8:].reshape(-1, 3)])
    salience = np.linalg.norm(lab - np.median(edge, axis=0), axis=2).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : DEPTH_HEIGHT * 1j, -1 : 1 : DEPTH_WIDTH * 1j].astype(np.float32)
    centre = np.exp(-(x**2 * 1.6 + y**2 * 1.2))
    guess = 0.45 * _unit(cv2.GaussianBlur(salience, (0, 0), 3)) + 0.4 * centre + 0.15 * (y + 1) / 2
    return _unit(cv2.GaussianBlur(guess.astype(np.float32), (0, 0), 5))


def _card_depth(pixels: Pixels, top: int, left: int) -> Field:
    """The card as one near plane with a little relief of its own; the backdrop far behind it."""
    scale_y, scale_x = DEPTH_HEIGHT / HEIGHT, DEPTH_WIDTH / WIDTH
    mask = np.zeros((DEPTH_HEIGHT, DEPTH_WIDTH), np.float32)
    y, x = round(top * scale_y), round(left * scale_x)
    mask[y : DEPTH_HEIGHT - y, x : DEPTH_WIDTH - x] = 1
    soft = cv2.GaussianBlur(mask, (0, 0), 2)
    return np.asarray(soft * (0.7 + 0.3 * _depth(pixels)), np.float32)


def _unit(field: cv2.typing.MatLike) -> Field:
    low, high = float(field.min()), float(field.max())
    return np.asarray((field - low) / max(high - low, 1e-6), np.float32)
