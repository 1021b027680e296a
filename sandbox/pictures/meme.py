"""The whole picture: scene, face and mood by chance of the seed, and the caption set large."""

from __future__ import annotations

import io
import itertools
import random
from dataclasses import dataclass
from enum import Enum, StrEnum

from PIL import Image, ImageDraw, ImageFont

from sandbox.pictures.canvas import PALETTES, Canvas
from sandbox.pictures.faces import FACES, Face
from sandbox.pictures.moods import EXTRAS, EYES, MOUTHS
from sandbox.pictures.scenes import SCENES

OVERSAMPLING = 2
SHORTER_SIDE_PX = 1080
JPEG_QUALITY = 92
TEXT_HEIGHT = 0.105  # of the shorter side
TEXT_WIDTH_MAX = 0.94
MARGIN = 0.05
LETTER_SPACE = 0.07  # of the letters' height
CAPITAL_HEIGHT = 0.72  # of the font's size


class Aspect(Enum):
    """Shapes that Satreel takes, as width and height."""

    WIDE = (16, 9)
    CLASSIC = (4, 3)
    SQUARE = (1, 1)

    def size(self, shorter_side_px: int) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.value
        return round(shorter_side_px * width / height), shorter_side_px


class PictureFormat(StrEnum):
    """File formats that Satreel takes, by Pillow's names."""

    PNG = "PNG"
    JPEG = "JPEG"
    GIF = "GIF"


@dataclass(frozen=True, slots=True)
class Caption:
    """The line at the top and the one at the bottom."""

    top: str
    bottom: str


CAPTIONS = tuple(
    Caption(*lines.split(" / "))
    for lines in (
        "WHEN THE BLOCK LANDS / AND YOU ARE RANK ONE",
        "ONE SATOSHI PER SECOND / BEST MONEY I EVER BURNED",
        "I CAME FOR THE MEMES / I STAYED FOR THE POOL",
        "MY BUDGET SAID STOP / MY HEART SAID REPLAY",
        "TEN MINUTES TO GO / ALREADY REFRESHING",
        "THEY SAID DO NOT WATCH / I WATCHED IT TWICE",
        "SOLD THE TITLE / MISS IT EVERY DAY",
        "ONE CONFIRMATION / ZERO REGRETS",
        "MONDAY MORNING / STILL PENDING",
        "BOUGHT AT THE TOP / FRAMED IT ANYWAY",
        "NOBODY: / ME AT BLOCK HEIGHT 100",
        "CTRL C / CTRL SATS",
        "THE CODE WORKS / NOBODY KNOWS WHY",
        "IT IS NOT A BUG / IT IS AN ORPHAN",
        "FIRST DRAFT / FINAL VERSION",
        "LOOK AT ME / I AM THE OWNER NOW",
        "LEFT THE STREAM OPEN / PAID FOR THE NAP",
        "TRUST ME / I READ THE MERKLE PROOF",
        "ASKED FOR A RAISE / GOT A REORG",
        "SMALL FEES / BIG DREAMS",
        "COFFEE FIRST / CONSENSUS LATER",
        "TWO BLOCKS IN A ROW / STAY CALM",
        "ZERO POINT EIGHT / QUALITY IS MY MIDDLE NAME",
        "EVERY SATOSHI / ACCOUNTED FOR",
    )
)


def draw_meme(
    seed: int,
    aspect: Aspect = Aspect.WIDE,
    *,
    caption: Caption | None = None,
    shorter_side_px: int = SHORTER_SIDE_PX,
) -> Image.Image:
    """The picture of this seed, RGB. The caption comes from the seed too unless it is given."""
    chance = random.Random(seed)  # noqa: S311 - a picture, not a secret
    width, height = aspect.size(shorter_side_px)
    canvas = Canvas(width * OVERSAMPLING, height * OVERSAMPLING, chance, chance.choice(PALETTES))
    # Neighbouring seeds step through scenes and faces: a handful of pictures shows a handful of things.
    SCENES[(seed * 3) % len(SCENES)](canvas)
    canvas.light()
    _draw_face(canvas, seed)
    picture = canvas.image.reduce(OVERSAMPLING)
    _write(picture, caption or CAPTIONS[(seed * 7) % len(CAPTIONS)])
    return picture


def meme_bytes(
    seed: int, aspect: Aspect = Aspect.WIDE, file_format: PictureFormat = PictureFormat.PNG
) -> bytes:
    """The picture as a file."""
    picture = draw_meme(seed, aspect)
    file = io.BytesIO()
    if file_format is PictureFormat.GIF:
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    options = {"quality": JPEG_QUALITY} if file_format is PictureFormat.JPEG else {}
    picture.save(file, file_format.value, **options)
    return file.getvalue()


def _draw_face(canvas: Canvas, seed: int) -> None:
    chance = canvas.chance
    room = max(0.0, canvas.half_width - 38)
    at = (chance.uniform(-1, 1) * room * 0.7, chance.uniform(4, 10))
    skin = canvas.palette.skin
    face = Face(canvas, at, chance.uniform(19, 25), skin)
    FACES[(seed * 5 + seed // len(FACES)) % len(FACES)](face)
    extra = chance.choice(EXTRAS)
    extra(face)
    chance.choice(EYES)(face)
    chance.choice(MOUTHS)(face)


def _write(picture: Image.Image, caption: Caption) -> None:
    draw = ImageDraw.Draw(picture)
    margin = round(MARGIN * min(picture.size))
    capitals = round(min(picture.size) * TEXT_HEIGHT * CAPITAL_HEIGHT)
    _write_line(draw, picture.size, caption.top, margin + capitals)
    _write_line(draw, picture.size, caption.bottom, picture.height - margin)


def _write_line(draw: ImageDraw.ImageDraw, size: tuple[int, int], text: str, baseline: int) -> None:
    """White letters made bold by a white stroke, inside a black one; smaller where the line would not fit."""
    pixels = min(size) * TEXT_HEIGHT
    widths = _letter_widths(text, pixels)
    if sum(widths) > size[0] * TEXT_WIDTH_MAX:
        pixels *= size[0] * TEXT_WIDTH_MAX / sum(widths)
        widths = _letter_widths(text, pixels)
    font, bold, outline = ImageFont.load_default(pixels), pixels * 0.05, pixels * 0.13
    left = (size[0] - sum(widths)) / 2
    starts = list(itertools.accumulate(widths, initial=left))
    for colour, stroke in (("black", outline), ("white", bold)):
        for letter, x in zip(text, starts, strict=False):
            at = (x + pixels * LETTER_SPACE / 2, baseline)
            draw.text(at, letter, colour, font, "ls", stroke_width=stroke, stroke_fill=colour)


def _letter_widths(text: str, pixels: float) -> list[float]:
    """Set letter by letter, because the font's own spacing leaves no room for the outline."""
    font = ImageFont.load_default(pixels)
    return [font.getlength(letter) + pixels * LETTER_SPACE for letter in text]
