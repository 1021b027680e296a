"""What stands behind the face."""

from __future__ import annotations

import math
from collections.abc import Callable

from sandbox.pictures.canvas import INK, WHITE, Canvas, mix


def sunburst(c: Canvas) -> None:
    """Rays from a point off the centre."""
    p = c.palette
    c.gradient(p.far, mix(p.far, p.near, 0.5))
    centre = (c.chance.uniform(-30, 30), c.chance.uniform(-10, 25))
    rays, reach = c.chance.choice((9, 12, 16)), 300
    start = c.chance.uniform(0, math.pi)
    for ray in range(rays):
        angles = (start + 2 * math.pi * (ray + half) / rays for half in (0, 0.5))
        rim = [(centre[0] + reach * math.cos(a), centre[1] + reach * math.sin(a)) for a in angles]
        c.polygon([centre, *rim], p.near)
    c.disc(centre, 46, mix(p.far, WHITE, 0.35))


def hills(c: Canvas) -> None:
    """Sky, sun, clouds, and three rows of hills."""
    p = c.palette
    c.gradient(mix(p.far, WHITE, 0.1), mix(p.far, WHITE, 0.7))
    side = c.chance.choice((-1, 1))
    c.disc((side * c.half_width * 0.62, -26), c.chance.uniform(10, 16), p.accent)
    for _ in range(c.chance.randint(2, 4)):
        x, y = c.chance.uniform(-c.half_width, c.half_width), c.chance.uniform(-38, -14)
        for dx, radius in ((-7, 5), (0, 7.5), (8, 5.5)):
            c.disc((x + dx, y), (radius * 1.3, radius * 0.8), WHITE)
    for row, shade in enumerate((0.35, 0.65, 1.0)):
        base = 2 + row * 15 + c.chance.uniform(-4, 4)
        wave, phase = c.chance.uniform(0.03, 0.06), c.chance.uniform(0, 6)
        steps = [-c.half_width + i * c.half_width / 30 for i in range(61)]
        top = [(x, base + 8 * math.sin(x * wave + phase) + 3 * math.sin(x * wave * 2.7)) for x in steps]
        c.polygon([*top, (c.half_width, 60), (-c.half_width, 60)], mix(mix(p.far, WHITE, 0.5), p.near, shade))


def city(c: Canvas) -> None:
    """A skyline at night, with a moon and lit windows."""
    p = c.palette
    night = mix(p.near, INK, 0.75)
    c.gradient(night, mix(p.near, INK, 0.15))
    _stars(c, 60, -50, 10)
    c.disc((c.chance.choice((-1, 1)) * c.half_width * 0.6, -24), 11, mix(p.accent, WHITE, 0.5))
    x = -c.half_width
    while x < c.half_width:
        wide, high = c.chance.uniform(10, 22), c.chance.uniform(22, 68)
        c.box((x, 50 - high), (wide, high), mix(night, INK, c.chance.uniform(0.2, 0.7)))
        for row in range(int(high // 7)):
            for column in range(int(wide // 5)):
                if c.chance.random() < 0.45:
                    c.box((x + 1.6 + column * 5, 52 - high + row * 7), (2.2, 3.2), p.accent)
        x += wide + c.chance.uniform(0, 2)


def halftone(c: Canvas) -> None:
    """Comic dots that grow to one side."""
    p = c.palette
    c.gradient(mix(p.far, WHITE, 0.25), p.far)
    turn = c.chance.choice((0, math.pi / 4, math.pi / 2, math.pi))
    pitch = c.chance.uniform(5.5, 8)
    rows, columns = int(100 / pitch) + 3, int(2 * c.half_width / pitch) + 3
    for row in range(rows):
        for column in range(columns):
            x = -c.half_width + (column + row % 2 / 2) * pitch
            y = -50 + row * pitch * 0.87
            along = (x / c.half_width * math.sin(turn) + y / 50 * math.cos(turn) + 1.2) / 2.4
            if along > 0.05:
                c.disc((x, y), pitch * 0.62 * min(1.0, along), p.near)


def sunset(c: Canvas) -> None:
    """A striped sun over a grid, as on old arcade machines."""
    p = c.palette
    c.gradient(mix(p.near, INK, 0.65), p.accent)
    horizon = c.chance.uniform(8, 18)
    centre = (c.chance.uniform(-25, 25), horizon - 16)
    for step in range(300):
        y = -30 + step / 5
        if y < 2 or step % 30 > 8:
            half = math.sqrt(30**2 - y**2)
            colour = mix((255, 236, 120), p.accent, step / 340)
            c.box((centre[0] - half, centre[1] + y), (2 * half, 0.25), colour)
    dark = mix(p.near, INK, 0.8)
    c.box((-c.half_width, horizon), (2 * c.half_width, 60), dark)
    line = mix(p.accent, WHITE, 0.2)
    for step in range(9):
        y = horizon + 46 * (step / 8) ** 2.2
        c.curve([(-c.half_width, y), (c.half_width, y)], line, 0.45)
    for step in range(-14, 15):
        c.curve([(step * 9, horizon), (step * 34, 60)], line, 0.45)


def stripes(c: Canvas) -> None:
    """Broad slanted stripes and confetti."""
    p = c.palette
    c.gradient(p.far, p.far)
    slant, pitch = c.chance.choice((-1, 1)) * c.chance.uniform(25, 70), c.chance.uniform(14, 26)
    x = -c.half_width - 100
    while x < c.half_width + 100:
        c.polygon([(x, -55), (x + pitch / 2, -55), (x + pitch / 2 + slant, 55), (x + slant, 55)], p.near)
        x += pitch
    for _ in range(46):
        at = (c.chance.uniform(-c.half_width, c.half_width), c.chance.uniform(-50, 50))
        colour = c.chance.choice((p.accent, WHITE, mix(p.accent, WHITE, 0.5)))
        if c.chance.random() < 0.5:
            c.disc(at, c.chance.uniform(0.8, 1.8), colour)
        else:
            c.star(at, c.chance.uniform(1.4, 2.8), colour)


def room(c: Canvas) -> None:
    """A wall with a window, a chart that goes up, and a floor."""
    p = c.palette
    c.gradient(mix(p.far, WHITE, 0.35), p.far)
    c.box((-c.half_width, 26), (2 * c.half_width, 30), mix(p.near, INK, 0.35))
    c.box((-c.half_width, 24), (2 * c.half_width, 3), mix(p.near, INK, 0.55))
    side = c.chance.choice((-1, 1))
    left = side * c.half_width * 0.56 - 17
    c.box((left, -32), (34, 32), (172, 216, 238), outline=WHITE, line=2)
    c.disc((left + 24, -24), 4.5, (255, 224, 110))
    c.box((left + 16, -32), (2, 32), WHITE)
    c.box((left, -17), (34, 2), WHITE)
    chart = -side * c.half_width * 0.56 - 17
    c.box((chart, -32), (34, 28), mix(p.near, INK, 0.8), outline=mix(p.near, INK, 0.5), line=2)
    heights = [-8 - step * 3 + c.chance.uniform(-3, 3) for step in range(7)]
    c.curve([(chart + 3 + step * 4.6, y) for step, y in enumerate(heights)], p.accent, 1.6)


def space(c: Canvas) -> None:
    """Stars, a planet with a ring, a moon."""
    p = c.palette
    c.gradient(mix(p.near, INK, 0.9), mix(p.near, INK, 0.5), c.chance.uniform(-0.8, 0.8))
    _stars(c, 140, -50, 50)
    side = c.chance.choice((-1, 1))
    at = (side * c.half_width * 0.58, c.chance.uniform(-20, 4))
    size = c.chance.uniform(15, 22)
    c.disc(at, size, p.accent)
    c.disc((at[0] - size * 0.25, at[1] - size * 0.25), size * 0.62, mix(p.accent, WHITE, 0.25))
    c.arc(at, (size * 1.7, size * 0.45), (-20, 200), mix(p.far, WHITE, 0.4), 2.2)
    c.disc((-side * c.half_width * 0.6, 26), c.chance.uniform(5, 9), mix(p.skin, WHITE, 0.3))


def _stars(c: Canvas, count: int, top: float, bottom: float) -> None:
    for _ in range(count):
        at = (c.chance.uniform(-c.half_width, c.half_width), c.chance.uniform(top, bottom))
        c.disc(at, c.chance.uniform(0.15, 0.6), mix(WHITE, c.palette.accent, c.chance.uniform(0, 0.5)))


SCENES: tuple[Callable[[Canvas], None], ...] = (
    sunburst, hills, city, halftone, sunset, stripes, room, space,
)  # fmt: skip
