"""Who is in the picture. A face is drawn around `at`, its head about `size` in radius."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.pictures.canvas import INK, WHITE, Canvas, Colour, Point, mix

ROSE: Colour = (255, 138, 150)
GOLD: Colour = (255, 200, 60)


@dataclass(frozen=True, slots=True)
class Face:
    """Where the face is, how large, in which colour; `p` places a feature by parts of the size."""

    c: Canvas
    at: Point
    size: float
    skin: Colour

    def p(self, x: float, y: float) -> Point:
        """A point, in head sizes from the middle of the face."""
        return self.at[0] + x * self.size, self.at[1] + y * self.size

    @property
    def line(self) -> float:
        """Width of outlines."""
        return max(0.9, self.size * 0.055)

    @property
    def shade(self) -> Colour:
        """The skin's darker tone."""
        return mix(self.skin, INK, 0.25)

    @property
    def light(self) -> Colour:
        """The skin's lighter tone."""
        return mix(self.skin, WHITE, 0.6)

    def disc(
        self, x: float, y: float, wide: float, high: float, fill: Colour, *, inked: bool = False
    ) -> None:
        """An ellipse of the face."""
        outline = INK if inked else None
        self.c.disc(self.p(x, y), (wide * self.size, high * self.size), fill, outline, self.line)

    def both(
        self, x: float, y: float, wide: float, high: float, fill: Colour, *, inked: bool = False
    ) -> None:
        """The same on the left and on the right."""
        for side in (-1, 1):
            self.disc(side * x, y, wide, high, fill, inked=inked)

    def shape(self, points: list[Point], fill: Colour, *, inked: bool = True) -> None:
        """A polygon of the face."""
        self.c.polygon([self.p(*point) for point in points], fill, INK if inked else None, self.line)

    def stroke(self, points: list[Point], colour: Colour = INK, line: float = 1.3) -> None:
        """A line on the face."""
        self.c.curve([self.p(*point) for point in points], colour, self.line * line)

    def bow(self, x: float, y: float, radius: Point, degrees: Point, line: float = 1.3) -> None:
        """An arc on the face."""
        scaled = (radius[0] * self.size, radius[1] * self.size)
        self.c.arc(self.p(x, y), scaled, degrees, INK, self.line * line)


def _body(f: Face, colour: Colour) -> None:
    f.disc(0, 1.75, 0.85, 1.0, colour, inked=True)


def cat(f: Face) -> None:
    """Pointed ears, whiskers, stripes."""
    _body(f, f.skin)
    for side in (-1, 1):
        f.shape([(side * 0.9, -0.25), (side * 0.82, -1.25), (side * 0.2, -0.8)], f.skin)
        f.shape([(side * 0.78, -0.5), (side * 0.75, -1.0), (side * 0.42, -0.75)], ROSE, inked=False)
    f.disc(0, 0, 1.05, 0.92, f.skin, inked=True)
    for x in (-0.2, 0.0, 0.2):
        f.stroke([(x, -0.84), (x * 0.8, -0.58)], f.shade, 1.8)
    f.disc(0, 0.4, 0.42, 0.3, f.light)
    for side in (-1, 1):
        for lift in (-0.08, 0.08):
            f.stroke([(side * 0.6, 0.3 + lift), (side * 1.3, 0.22 + lift * 2.6)], line=0.6)
    f.shape([(-0.1, 0.2), (0.1, 0.2), (0, 0.32)], ROSE, inked=False)


def dog(f: Face) -> None:
    """Hanging ears, a large snout."""
    _body(f, f.skin)
    f.disc(0, 0, 0.98, 1.0, f.skin, inked=True)
    for side in (-1, 1):
        f.disc(side * 0.98, -0.05, 0.28, 0.68, f.shade, inked=True)
    f.disc(0.38, -0.2, 0.34, 0.4, f.light)
    f.disc(0, 0.45, 0.5, 0.4, f.light)
    f.disc(0, 0.24, 0.2, 0.14, INK)
    f.disc(-0.05, 0.2, 0.05, 0.03, WHITE)


def frog(f: Face) -> None:
    """Eyes on top, a wide head."""
    green = mix(f.skin, (90, 180, 70), 0.65)
    frog_face = Face(f.c, f.at, f.size, green)
    _body(frog_face, green)
    frog_face.both(0.48, -0.55, 0.4, 0.4, green, inked=True)
    frog_face.disc(0, 0.1, 1.2, 0.85, green, inked=True)
    frog_face.both(0.48, -0.5, 0.34, 0.34, green)
    frog_face.disc(0, 0.55, 0.75, 0.3, mix(green, WHITE, 0.35))
    frog_face.both(0.08, 0.2, 0.03, 0.03, INK)


def bear(f: Face) -> None:
    """Round ears, a light snout."""
    _body(f, f.skin)
    f.both(0.72, -0.75, 0.34, 0.34, f.skin, inked=True)
    f.both(0.72, -0.72, 0.18, 0.18, f.light)
    f.disc(0, 0, 1.02, 0.95, f.skin, inked=True)
    f.disc(0, 0.42, 0.42, 0.34, f.light)
    f.disc(0, 0.24, 0.15, 0.1, INK)


def robot(f: Face) -> None:
    """A box with bolts and an antenna."""
    steel = mix(f.skin, (190, 200, 214), 0.6)
    c, line = f.c, f.line
    c.box(
        f.p(-0.75, 1.0),
        (1.5 * f.size, 1.6 * f.size),
        mix(steel, INK, 0.2),
        outline=INK,
        line=line,
        round_by=3,
    )
    f.stroke([(0, -0.9), (0, -1.35)], INK, 2)
    f.disc(0, -1.4, 0.14, 0.14, ROSE, inked=True)
    for side in (-1, 1):
        c.box(
            f.p(side * 1.13 - 0.1, -0.25),
            (0.2 * f.size, 0.5 * f.size),
            steel,
            outline=INK,
            line=line,
            round_by=1,
        )
    c.box(
        f.p(-1.0, -0.9), (2.0 * f.size, 1.8 * f.size), steel, outline=INK, line=line, round_by=f.size * 0.25
    )
    c.box(f.p(-0.82, -0.7), (1.64 * f.size, 1.4 * f.size), mix(steel, WHITE, 0.5), round_by=f.size * 0.18)


def alien(f: Face) -> None:
    """A large, narrow-chinned head with feelers."""
    skin = mix(f.skin, (150, 230, 150), 0.6)
    _body(f, mix(skin, INK, 0.3))
    for side in (-1, 1):
        f.stroke([(side * 0.35, -0.8), (side * 0.62, -1.4)], INK, 1.4)
        f.disc(side * 0.62, -1.42, 0.13, 0.13, GOLD, inked=True)
    f.shape([(-1.0, -0.2), (1.0, -0.2), (0.42, 0.95), (-0.42, 0.95)], skin)
    f.disc(0, -0.25, 1.05, 0.85, skin, inked=True)
    f.shape([(-0.96, -0.1), (0.96, -0.1), (0.42, 0.92), (-0.42, 0.92)], skin, inked=False)


def chick(f: Face) -> None:
    """A ball with a tuft and a beak."""
    yellow = mix(f.skin, (255, 214, 60), 0.7)
    _body(f, yellow)
    for x in (-0.14, 0, 0.14):
        f.stroke([(x * 0.5, -0.9), (x * 1.8, -1.25)], INK, 1.6)
    f.disc(0, 0, 1.0, 0.95, yellow, inked=True)
    f.shape([(-0.2, 0.12), (0.2, 0.12), (0, 0.36)], (255, 140, 40))


def ghost(f: Face) -> None:
    """A sheet with a wavy hem."""
    pale = mix(f.skin, WHITE, 0.7)
    hem = [(1.0 - step * 0.25, 1.9 if step % 2 else 1.6) for step in range(9)]
    f.shape([(-1.0, 0.0), (1.0, 0.0), *hem], pale)
    f.disc(0, 0, 1.0, 1.0, pale, inked=True)
    f.shape([(-0.98, 0.0), (0.98, 0.0), *hem], pale, inked=False)


FACES: tuple[Callable[[Face], None], ...] = (cat, dog, frog, bear, robot, alien, chick, ghost)
