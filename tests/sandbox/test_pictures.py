"""Drawn pictures: right in shape, one for each seed, none like another; and bad ones as bad as they say."""

from __future__ import annotations

import io
import itertools
import zlib

import imagehash
import pytest
from PIL import Image

from sandbox.pictures import Aspect, Caption, PictureFormat, bad, draw_meme, meme_bytes

PHASH_DISTANCE_MIN = 10


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(Aspect.WIDE, (1920, 1080)), (Aspect.CLASSIC, (1440, 1080)), (Aspect.SQUARE, (1080, 1080))],
)
def test_shapes_are_those_that_satreel_takes(aspect: Aspect, size: tuple[int, int]) -> None:
    assert draw_meme(1, aspect).size == size


@pytest.mark.parametrize("file_format", list(PictureFormat))
def test_files_are_what_they_say(file_format: PictureFormat) -> None:
    data = meme_bytes(2, Aspect.SQUARE, file_format)
    assert len(data) < 10_000_000
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == file_format
        picture.load()


def test_the_same_seed_draws_the_same() -> None:
    assert draw_meme(3, shorter_side_px=270) == draw_meme(3, shorter_side_px=270)


def test_seeds_look_different() -> None:
    shapes = itertools.cycle(Aspect)
    hashes = [
        imagehash.phash(draw_meme(seed, aspect, shorter_side_px=270))
        for seed, aspect in zip(range(48), shapes, strict=False)
    ]
    assert min(a - b for a, b in itertools.combinations(hashes, 2)) > PHASH_DISTANCE_MIN


def test_long_captions_stay_inside() -> None:
    caption = Caption("A LINE THAT IS MUCH TOO LONG FOR ONE PICTURE OF THIS SIZE", "")
    with_text = draw_meme(4, Aspect.SQUARE, caption=caption)
    without = draw_meme(4, Aspect.SQUARE, caption=Caption("", ""))
    border = (0, 0, 20, 1080)
    assert with_text != without
    assert with_text.crop(border) == without.crop(border)


def test_bad_pictures_are_distinct_and_small() -> None:
    pictures = [make() for make in bad.BAD_PICTURES]
    assert len({picture.name for picture in pictures}) == len(pictures)
    assert all(len(picture.data) < 10_000_000 for picture in pictures)


def test_small_and_wide_ones_are_sound_otherwise() -> None:
    for picture, size in ((bad.too_small(), (960, 540)), (bad.wrong_aspect(), (2520, 1080))):
        with Image.open(io.BytesIO(picture.data)) as opened:
            opened.load()
            assert opened.size == size


def test_the_truncated_one_opens_and_does_not_load() -> None:
    with Image.open(io.BytesIO(bad.truncated().data)) as picture, pytest.raises(OSError, match="truncated"):
        picture.load()


@pytest.mark.parametrize("make", [bad.wrong_magic, bad.not_a_picture])
def test_masked_ones_are_no_pictures(make: object) -> None:
    picture = make()  # type: ignore[operator] # one of the two functions above
    with pytest.raises(OSError), Image.open(io.BytesIO(picture.data)) as opened:  # noqa: PT011 - Pillow's own
        opened.load()


def test_the_bomb_is_large_only_inside() -> None:
    bomb = bad.decompression_bomb()
    assert len(bomb.data) < 1_000_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(bomb.data))


def test_the_liar_holds_more_than_it_says() -> None:
    liar = bad.lying_header().data
    with Image.open(io.BytesIO(liar)) as picture:
        assert picture.size == (1920, 1080)
    start = liar.index(b"IDAT") + 4
    length = int.from_bytes(liar[start - 8 : start - 4], "big")
    inflated = zlib.decompress(liar[start : start + length])  # the checksum is right, too
    assert len(inflated) == 1921 * 1080 * 40
