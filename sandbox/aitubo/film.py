"""From one picture to a film: a camera on a smooth orbit before a scene with depth, encoded as H.264.

The frames are YUV 4:2:0 throughout: bending three small planes costs half of bending RGB and converting it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image

from sandbox.aitubo.framing import HEIGHT, WIDTH, Field, Pixels, Scene, compose, decode

FRAMES_PER_S = 30
SECONDS_MAX = 60.0
ORBIT_SECONDS = 4.0  # longest time for one turn of the camera: more would look still
NEAR_SHIFT_PX = 34.0
FAR_SHIFT_PX = -16.0
ZOOM = 1.06  # hides the frame's edge while the camera moves
ZOOM_BREATH = 0.012
COVER_QUALITY = 88
# BT.709 limited range, rows Y, U, V over R, G, B in 0..255
BT709 = np.array(
    [[0.1826, 0.6142, 0.0620], [-0.1006, -0.3386, 0.4392], [0.4392, -0.3989, -0.0403]], dtype=np.float32
)


class Flaw(StrEnum):
    """Films that a quality check must refuse; made on request only."""

    WRONG_CODEC = "wrong_codec"
    WRONG_SIZE = "wrong_size"
    WRONG_RATE = "wrong_rate"
    BLACK = "black_film"
    STILL = "still_film"
    JERKY = "jerky_film"
    TRUNCATED = "truncated_film"


@dataclass(frozen=True, slots=True)
class FilmOrder:
    """What to render."""

    seed: int
    seconds: float = 2.0
    flaw: Flaw | None = None

    @property
    def frames(self) -> int:
        """How many frames make the asked length; two at least."""
        return max(2, round(min(self.seconds, SECONDS_MAX) * FRAMES_PER_S))


@dataclass(frozen=True, slots=True)
class Planes:
    """A YUV 4:2:0 picture: luma at full size, the two chroma planes side by side at half size."""

    luma: Pixels
    chroma: Pixels


def render_film(picture: bytes, order: FilmOrder, film: Path, cover: Path) -> None:
    """Write the film and its cover (JPEG). Raises PictureUnreadable; same picture and order, same film."""
    scene = compose(decode(picture))
    if order.flaw is Flaw.BLACK:
        scene = Scene(np.zeros_like(scene.pixels), scene.depth)
    Image.fromarray(scene.pixels).save(cover, "JPEG", quality=COVER_QUALITY)
    _encode(_frames(scene, order), order, film)
    if order.flaw is Flaw.TRUNCATED:
        whole = film.read_bytes()
        film.write_bytes(whole[: len(whole) * 2 // 3])


def _encode(frames: Iterator[Pixels], order: FilmOrder, film: Path) -> None:
    codec = "mpeg4" if order.flaw is Flaw.WRONG_CODEC else "libx264"
    rate = 24 if order.flaw is Flaw.WRONG_RATE else FRAMES_PER_S
    width, height = (1280, 720) if order.flaw is Flaw.WRONG_SIZE else (WIDTH, HEIGHT)
    with av.open(str(film), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=rate)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"{codec} is no video codec")
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, rate)
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = 1, 1  # BT.709, as the frames are
        if codec == "libx264":
            context.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
        else:
            context.bit_rate = 6_000_000
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            if (width, height) != (WIDTH, HEIGHT):
                frame = frame.reformat(width=width, height=height)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _frames(scene: Scene, order: FilmOrder) -> Iterator[Pixels]:
    planes = _planes(scene.pixels)
    camera = Camera(order)
    sampler = Sampler(scene.depth)
    for number in range(order.frames):
        yield sampler.frame(planes, *camera.at(number))


class Camera:
    """An elliptic orbit with a slight breath of zoom: every step is about as large as the last."""

    def __init__(self, order: FilmOrder) -> None:
        chance = random.Random(order.seed)  # noqa: S311 - a film, not a secret
        self._phase = chance.uniform(0, 2 * math.pi)
        self._turn = chance.choice((-1, 1))
        self._height = chance.uniform(0.75, 0.95)
        self._turns = max(1, round(order.frames / FRAMES_PER_S / ORBIT_SECONDS))
        self._frames = order.frames
        self._flaw = order.flaw

    def at(self, number: int) -> tuple[float, float, float]:
        """Where the camera is: x and y in -1..1, and the zoom."""
        if self._flaw in (Flaw.STILL, Flaw.BLACK):
            number = 0
        if self._flaw is Flaw.JERKY:  # stands for five frames, then jumps, now and then back
            number = (number // 6 * 6 * 7) % self._frames
        angle = self._phase + self._turn * 2 * math.pi * self._turns * number / self._frames
        breath = 1 + ZOOM_BREATH * math.sin(angle * 2)
        return math.cos(angle), self._height * math.sin(angle), ZOOM * breath


class Sampler:
    """Where each pixel of a frame comes from: near parts move with the camera, far ones against it."""

    def __init__(self, depth: Field) -> None:
        shift = FAR_SHIFT_PX + (NEAR_SHIFT_PX - FAR_SHIFT_PX) * depth
        self._shift: Field = np.asarray(
            cv2.resize(shift, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32
        )
        self._x = np.arange(WIDTH, dtype=np.float32)[None, :] - np.float32(WIDTH / 2)
        self._y = np.arange(HEIGHT, dtype=np.float32)[:, None] - np.float32(HEIGHT / 2)
        self._map_x: Field = np.empty((HEIGHT, WIDTH), np.float32)
        self._map_y: Field = np.empty((HEIGHT, WIDTH), np.float32)
        self._frame: Pixels = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)

    def frame(self, planes: Planes, camera_x: float, camera_y: float, zoom: float) -> Pixels:
        """One frame in I420 layout. The array is used again for the next one."""
        np.multiply(self._shift, np.float32(camera_x), out=self._map_x)
        self._map_x += self._x / np.float32(zoom) + np.float32(WIDTH / 2)
        np.multiply(self._shift, np.float32(camera_y), out=self._map_y)
        self._map_y += self._y / np.float32(zoom) + np.float32(HEIGHT / 2)
        half_x = self._map_x[::2, ::2] * np.float32(0.5)
        half_y = self._map_y[::2, ::2] * np.float32(0.5)
        self._frame[:HEIGHT] = _sample(planes.luma, self._map_x, self._map_y)
        chroma = _sample(planes.chroma, half_x, half_y)
        self._frame[HEIGHT : HEIGHT * 5 // 4] = chroma[..., 0].reshape(-1, WIDTH)
        self._frame[HEIGHT * 5 // 4 :] = chroma[..., 1].reshape(-1, WIDTH)
        return self._frame


def _sample(plane: Pixels, map_x: NDArray[np.float32], map_y: NDArray[np.float32]) -> Pixels:
    return np.asarray(
        cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.uint8
    )


def _planes(pixels: Pixels) -> Planes:
    converted = cv2.transform(pixels.astype(np.float32), BT709)
    half = cv2.resize(converted, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    luma = np.clip(converted[..., 0] + 16.5, 16, 235).astype(np.uint8)
    return Planes(luma, np.clip(half[..., 1:] + 128.5, 16, 240).astype(np.uint8))
