"""Drawing at a scale of its own: positions in hundredths of the shorter side, colours from one palette."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (28, 24, 38)
WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours that go together: two for the scene's depth, one against them, one for the face."""

    far: Colour
    near: Colour
    accent: Colour
    skin: Colour


def _hex(*codes: str) -> Palette:
    colours = [(int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in codes]
    return Palette(*colours)


PALETTES = (
    _hex("FFD166", "F78C3B", "EF476F", "FFE8C2"),
    _hex("8ECAE6", "219EBC", "FFB703", "FFCF99"),
    _hex("F7CAD0", "E05780", "6A4C93", "FFF0D9"),
    _hex("CAFFBF", "52B788", "FF6B6B", "B7E778"),
    _hex("3A0CA3", "7209B7", "4CC9F0", "F72585"),
    _hex("0B132B", "1C2541", "FFD60A", "5BC0BE"),
    _hex("FFE5D9", "D8A48F", "3D5A80", "EE6C4D"),
    _hex("A0E7E5", "2EC4B6", "FF9F1C", "FFFFFF"),
    _hex("FDFCDC", "F07167", "0081A7", "FED9B7"),
    _hex("2D0B3F", "B5179E", "FFC300", "9EF01A"),
    _hex("E0E1DD", "778DA9", "E63946", "F4A259"),
    _hex("132A13", "4F772D", "ECF39E", "F5B971"),
)


def _above(level: int) -> int:
    return max(0, level - 128)


def _below(level: int) -> int:
    return min(255, level * 2)


def mix(one: Colour, other: Colour, part: float) -> Colour:
    """`part` 0 is `one`, 1 is `other`."""
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


class Canvas:
    """A picture under construction. `x` and `y` run from the centre, in hundredths of the shorter side."""

    def __init__(self, width: int, height: int, chance: random.Random, palette: Palette) -> None:
        self.image = Image.new("RGB", (width, height), palette.far)
        self.chance = chance
        self.palette = palette
        self._draw = ImageDraw.Draw(self.image)
        self.unit = min(width, height) / 100
        self.half_width = width / 2 / self.unit
        self.half_height = height / 2 / self.unit

    def _at(self, point: Point) -> Point:
        return (point[0] + self.half_width) * self.unit, (point[1] + self.half_height) * self.unit

    def gradient(self, top: Colour, bottom: Colour, angle: float = 0.0) -> None:
        """Fill all, from `top` to `bottom`, turned by `angle` radians."""
        size = 128
        y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
        along = (y * math.cos(angle) + x * math.sin(angle)) / (abs(math.cos(angle)) + abs(math.sin(angle)))
        part = ((along + 1) / 2)[..., None]
        pixels = np.array(top) * (1 - part) + np.array(bottom) * part
        small = Image.fromarray(np.asarray(np.round(pixels), np.uint8))
        self.image.paste(small.resize(self.image.size, Image.Resampling.BICUBIC))

    def light(self, lamps: int = 3) -> None:
        """Lamps and shadows at random places: depth, and no two pictures share their large shapes."""
        size = 96
        y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
        gain = np.ones((size, size))
        for lamp in range(lamps):
            at_x, at_y = self.chance.uniform(-1, 1), self.chance.uniform(-1, 1)
            reach, strength = self.chance.uniform(0.35, 0.9), self.chance.uniform(0.3, 0.6)
            glow = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / reach**2)
            gain *= 1 + (strength if lamp % 2 == 0 else -strength) * glow
        mask = np.asarray(np.clip(gain * 128, 0, 255), np.uint8)
        field = Image.fromarray(mask).resize(self.image.size, Image.Resampling.BICUBIC)
        bright = ImageChops.screen(self.image, Image.merge("RGB", [field.point(_above)] * 3))
        self.image.paste(ImageChops.multiply(bright, Image.merge("RGB", [field.point(_below)] * 3)))

    def disc(
        self,
        centre: Point,
        radius: float | Point,
        fill: Colour,
        outline: Colour | None = None,
        line: float = 1.2,
    ) -> None:
        """A circle, or an ellipse when `radius` is a pair; the outline lies outside."""
        x, y = self._at(centre)
        wide, high = (radius, radius) if isinstance(radius, int | float) else radius
        if outline is not None:
            self.disc(centre, (wide + line, high + line), outline)
        wide, high = wide * self.unit, high * self.unit
        self._draw.ellipse((x - wide, y - high, x + wide, y + high), fill=fill)

    def polygon(
        self, points: Sequence[Point], fill: Colour, outline: Colour | None = None, line: float = 1.2
    ) -> None:
        """Any closed shape, with round corners where it has an outline."""
        if outline is not None:
            self.curve([*points, points[0], points[1]], outline, line * 2)
        self._draw.polygon([self._at(point) for point in points], fill=fill)

    def box(
        self,
        corner: Point,
        size: Point,
        fill: Colour,
        *,
        round_by: float = 0.0,
        outline: Colour | None = None,
        line: float = 1.2,
    ) -> None:
        """A rectangle from its upper left corner, with rounded corners if asked."""
        if outline is not None:
            outer = (corner[0] - line, corner[1] - line)
            self.box(outer, (size[0] + 2 * line, size[1] + 2 * line), outline, round_by=round_by + line)
        left, top = self._at(corner)
        right, bottom = left + size[0] * self.unit, top + size[1] * self.unit
        self._draw.rounded_rectangle((left, top, right, bottom), round_by * self.unit, fill=fill)

    def curve(self, points: Sequence[Point], colour: Colour, line: float) -> None:
        """A line through the points, round at joints and ends."""
        placed = [self._at(point) for point in points]
        self._draw.line(placed, fill=colour, width=round(line * self.unit), joint="curve")
        radius = line * self.unit / 2
        for x, y in placed:
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def arc(self, centre: Point, radius: Point, degrees: Point, colour: Colour, line: float) -> None:
        """Part of an ellipse, from and to in degrees, clockwise from the right."""
        steps = 24
        first, last = (math.radians(degree) for degree in degrees)
        angles = [first + (last - first) * step / steps for step in range(steps + 1)]
        points = [(centre[0] + radius[0] * math.cos(a), centre[1] + radius[1] * math.sin(a)) for a in angles]
        self.curve(points, colour, line)

    def star(self, centre: Point, radius: float, fill: Colour, points: int = 5) -> None:
        """A star with sharp points."""
        corners = []
        for step in range(points * 2):
            reach = radius if step % 2 == 0 else radius * 0.45
            angle = math.pi * (step / points - 0.5)
            corners.append((centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)))
        self.polygon(corners, fill)
