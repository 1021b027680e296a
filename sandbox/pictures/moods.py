"""How it feels: eyes, mouths, and what is worn or flies about."""

from __future__ import annotations

import math
from collections.abc import Callable

from sandbox.pictures.canvas import INK, WHITE
from sandbox.pictures.faces import GOLD, ROSE, Face

EYE_X = 0.43
EYE_Y = -0.2


def wide_eyes(f: Face) -> None:
    """Round and shining."""
    f.both(EYE_X, EYE_Y, 0.26, 0.3, WHITE, inked=True)
    look = f.c.chance.uniform(-0.08, 0.08)
    for side in (-1, 1):
        f.disc(side * EYE_X + look, EYE_Y + 0.03, 0.16, 0.2, INK)
        f.disc(side * EYE_X + look - 0.05, EYE_Y - 0.06, 0.06, 0.07, WHITE)


def happy_eyes(f: Face) -> None:
    """Closed in joy."""
    for side in (-1, 1):
        f.bow(side * EYE_X, EYE_Y + 0.08, (0.24, 0.24), (200, 340), 1.7)


def sleepy_eyes(f: Face) -> None:
    """Half closed."""
    f.both(EYE_X, EYE_Y, 0.26, 0.26, WHITE, inked=True)
    f.both(EYE_X, EYE_Y + 0.08, 0.12, 0.14, INK)
    for side in (-1, 1):
        lid = [(math.cos(a * math.pi / 12) * 0.27, -math.sin(a * math.pi / 12) * 0.27) for a in range(13)]
        f.shape([(side * EYE_X + x, EYE_Y + y) for x, y in lid], f.shade)


def angry_eyes(f: Face) -> None:
    """With heavy brows."""
    f.both(EYE_X, EYE_Y + 0.05, 0.24, 0.22, WHITE, inked=True)
    f.both(EYE_X - 0.06, EYE_Y + 0.08, 0.12, 0.13, INK)
    for side in (-1, 1):
        f.stroke([(side * 0.16, EYE_Y - 0.08), (side * 0.74, EYE_Y - 0.4)], line=3)


def star_eyes(f: Face) -> None:
    """Full of stars."""
    f.both(EYE_X, EYE_Y, 0.3, 0.32, INK)
    for side in (-1, 1):
        f.c.star(f.p(side * EYE_X, EYE_Y), 0.27 * f.size, GOLD)


def shades(f: Face) -> None:
    """Sunglasses, in large pixels."""
    step = 0.115
    rows = ("################", "..#w###..#w###..", "...###w...###w..", "....##.....##...")
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell != ".":
                corner = f.p((x - 8) * step, EYE_Y - 0.2 + y * step)
                side = step * f.size * 1.06
                f.c.box(corner, (side, side), WHITE if cell == "w" else INK)


def smile(f: Face) -> None:
    """A plain smile."""
    f.bow(0, 0.4, (0.36, 0.26), (15, 165), 1.6)


def grin(f: Face) -> None:
    """An open mouth with a tongue."""
    f.shape([(-0.38, 0.44), (0.38, 0.44), (0.28, 0.72), (0, 0.84), (-0.28, 0.72)], (120, 30, 48))
    f.disc(0, 0.7, 0.17, 0.1, ROSE)
    f.shape([(-0.34, 0.45), (0.34, 0.45), (0.31, 0.53), (-0.31, 0.53)], WHITE, inked=False)


def flat(f: Face) -> None:
    """No comment."""
    f.stroke([(-0.3, 0.58), (0.3, 0.58)], line=1.6)


def wavy(f: Face) -> None:
    """Not well."""
    f.stroke([(-0.36, 0.6), (-0.18, 0.5), (0, 0.62), (0.18, 0.5), (0.36, 0.6)], line=1.5)


def gasp(f: Face) -> None:
    """Astonished."""
    f.disc(0, 0.62, 0.17, 0.22, (120, 30, 48), inked=True)


def blush(f: Face) -> None:
    """Pink cheeks."""
    f.both(0.72, 0.2, 0.17, 0.11, ROSE)


def crown(f: Face) -> None:
    """For rank one."""
    zigzag = [
        (-0.5, -0.85),
        (-0.58, -1.5),
        (-0.26, -1.15),
        (0, -1.6),
        (0.26, -1.15),
        (0.58, -1.5),
        (0.5, -0.85),
    ]
    f.shape(zigzag, GOLD)
    for x, y in ((-0.58, -1.5), (0, -1.6), (0.58, -1.5)):
        f.disc(x, y, 0.09, 0.09, ROSE, inked=True)


def party_hat(f: Face) -> None:
    """With a bobble."""
    f.shape([(-0.42, -0.82), (0.42, -0.82), (0.08, -1.75)], f.c.palette.accent)
    for y in (-1.0, -1.28):
        f.stroke([(-0.3 - (y + 1) * 0.9, y), (0.32 + (y + 1) * 0.6, y)], WHITE, 1.8)
    f.disc(0.08, -1.75, 0.14, 0.14, WHITE, inked=True)


def coins(f: Face) -> None:
    """Gold coins in the air."""
    for _ in range(f.c.chance.randint(5, 9)):
        side = f.c.chance.choice((-1, 1))
        x, y = side * f.c.chance.uniform(1.35, 2.2), f.c.chance.uniform(-1.1, 1.3)
        radius = f.c.chance.uniform(0.16, 0.26)
        f.disc(x, y, radius, radius, GOLD, inked=True)
        f.disc(x, y, radius * 0.68, radius * 0.68, (255, 224, 130))
        f.c.star(f.p(x, y), radius * 0.5 * f.size, (214, 140, 20))


def sweat(f: Face) -> None:
    """A drop on the brow."""
    f.shape([(0.9, -0.95), (1.06, -0.6), (0.9, -0.48), (0.74, -0.6)], (120, 200, 255))


def nothing(_: Face) -> None:
    """As it is."""


EYES: tuple[Callable[[Face], None], ...] = (wide_eyes, happy_eyes, sleepy_eyes, angry_eyes, star_eyes, shades)
MOUTHS: tuple[Callable[[Face], None], ...] = (smile, grin, flat, wavy, gasp)
EXTRAS: tuple[Callable[[Face], None], ...] = (blush, crown, party_hat, coins, sweat, nothing)
