"""Pictures from strangers: by their containers alone, and through the process that decodes them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mesh.errors import Failure
from sandbox.pictures import Aspect, Caption, PictureFormat, draw_meme, meme_bytes
from sandbox.pictures.bad import BAD_PICTURES, BadPicture
from services.content.adapters.workshop import ProcessWorkshop, WorkshopLimits
from services.content.domain.containers import GIF_SIGNATURES, JPEG_SIGNATURE, PNG_SIGNATURE, outline
from services.content.domain.failures import (
    PICTURE_REFUSALS,
    AspectUnsupported,
    FormatUnsupported,
    TooManyFrames,
    TooManyPixels,
    TooSmall,
    Undecodable,
)
from services.content.domain.looks import BANDS, WAVE_DISTANCE_MAX, Look
from services.content.domain.pictures import PictureBounds, require_shape
from services.content.workshop.pictures import inspect

BOUNDS = PictureBounds()
MIB = 1024 * 1024
FILMS = WorkshopLimits(2048 * MIB, 60)
REASONS = {
    "small.png": TooSmall,
    "wide.png": AspectUnsupported,
    "cut.jpg": Undecodable,
    "masked.gif": Undecodable,
    "page.png": FormatUnsupported,
    "bomb.png": TooManyPixels,
    "lying.png": Undecodable,
    "tall.png": TooManyPixels,
}


def workshop(memory_bytes: int = 1024 * MIB, time_s: int = 20) -> ProcessWorkshop:
    return ProcessWorkshop(pictures=WorkshopLimits(memory_bytes, time_s), films=FILMS, bounds=BOUNDS)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def gif_of(frames: int, width: int = 1080, height: int = 1080) -> bytes:
    """So many empty frames: 18 bytes each, dear to decode."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    table = bytes(6)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + table + frame * frames + b";"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def hostile() -> Iterator[tuple[str, bytes, type[Failure]]]:
    png = encoded(Image.new("RGB", (1080, 1080), "red"), "PNG")
    jpeg = encoded(Image.new("RGB", (1080, 1080), "red"), "JPEG")
    gif = encoded(Image.new("P", (1080, 1080)), "GIF")
    yield "empty", b"", FormatUnsupported
    yield "png and zip", png + b"PK\x03\x04 an archive", Undecodable
    yield "jpeg and script", jpeg + b"<script>alert(1)</script>", Undecodable
    yield "gif and jar", gif + b"PK\x03\x04", Undecodable
    yield "png cut in its last chunk", png[:-5], Undecodable
    yield "png with a damaged chunk", png[:60] + bytes([png[60] ^ 1]) + png[61:], Undecodable
    yield "gif cut", gif[:-20], Undecodable
    yield "gif of 100,000 frames", gif_of(100_000), TooManyFrames
    yield "gif of a huge screen", gif_of(1, 65_535, 65_535), TooManyPixels
    yield "gif of many large frames", gif_of(60, 4_000, 2_250), TooManyPixels
    yield "animated png", png[:33] + png_chunk(b"acTL", struct.pack(">II", 9, 0)) + png[33:], TooManyFrames
    yield "png with too little data", png.replace(*_less_data(png)), Undecodable
    yield "jpeg with a lying size", _taller(jpeg), Undecodable
    photo = encoded(draw_meme(2).convert("RGB"), "JPEG")
    yield "jpeg cut and closed", photo[: len(photo) * 9 // 10] + b"\xff\xd9", Undecodable
    yield "bmp", encoded(Image.new("RGB", (1080, 1080)), "BMP"), FormatUnsupported
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", FormatUnsupported


def _less_data(png: bytes) -> tuple[bytes, bytes]:
    start = png.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", png, start)
    return png[start : start + length + 12], png_chunk(b"IDAT", zlib.compress(bytes(3241 * 10)))


def _taller(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">H", 1920) + jpeg[at + 2 :]


@pytest.mark.parametrize(
    ("data", "refusal"), [pytest.param(data, refusal, id=name) for name, data, refusal in hostile()]
)
def test_hostile_files_are_refused(data: bytes, refusal: type[Failure]) -> None:
    with pytest.raises(refusal):
        inspect(data, BOUNDS)


@pytest.mark.parametrize("bad", BAD_PICTURES, ids=lambda make: make.__name__)
async def test_bad_pictures_are_refused_by_the_process(bad: Callable[[], BadPicture], tmp_path: Path) -> None:
    path = tmp_path / "picture"
    picture = bad()
    path.write_bytes(picture.data)
    with pytest.raises(REASONS[picture.name]):
        await workshop().inspect_picture(path)


@pytest.mark.parametrize("format_", PictureFormat)
@pytest.mark.parametrize("aspect", Aspect)
def test_good_pictures_are_taken(format_: PictureFormat, aspect: Aspect) -> None:
    found = inspect(meme_bytes(5, aspect, format_), BOUNDS)
    assert found.mime == f"image/{format_.value.lower()}"
    assert (found.width, found.height) == aspect.size(1080)


def test_a_camera_that_lay_on_its_side_is_understood() -> None:
    upright = draw_meme(4)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = inspect(encoded(upright.rotate(90, expand=True), "JPEG", exif=exif), BOUNDS)
    assert (found.width, found.height) == (1920, 1080)
    assert found.look.resembles(inspect(encoded(upright, "PNG"), BOUNDS).look)


@pytest.mark.parametrize("seed", [0, 6])
def test_the_same_picture_is_known_again_and_another_caption_is_not(seed: int) -> None:
    image = draw_meme(seed)
    look = inspect(encoded(image, "PNG"), BOUNDS).look
    for other in (
        encoded(image.convert("RGB"), "JPEG", quality=45),
        encoded(image, "GIF"),
        encoded(image.resize((2880, 1620)).convert("RGB"), "JPEG", quality=70),
    ):
        found = inspect(other, BOUNDS).look
        assert found.resembles(look)
        assert set(found.bands()) & set(look.bands())
    captioned = draw_meme(seed, caption=Caption("SOMETHING ELSE", "ALTOGETHER"))
    assert not inspect(encoded(captioned, "PNG"), BOUNDS).look.resembles(look)
    assert not inspect(encoded(draw_meme(seed + 1), "PNG"), BOUNDS).look.resembles(look)


async def test_a_picture_of_as_many_pixels_as_are_allowed_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(Image.linear_gradient("L").resize((7070, 7070)).convert("RGB"), "JPEG"))
    assert (await workshop().inspect_picture(path)).width == 7070


def test_refusals_tell_nothing_of_our_memory() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)
    end = b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    data = b"IDAT" + zlib.compress(b"")
    chunks = (
        struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)),
        struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)),
        struct.pack(">I", 0) + end,
    )
    with pytest.raises(Undecodable) as refused:
        inspect(PNG_SIGNATURE + b"".join(chunks), BOUNDS)
    assert " at 0x" not in refused.value.message


async def test_a_process_that_needs_too_much_is_ended_and_the_picture_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(meme_bytes(1, Aspect.WIDE, PictureFormat.PNG))
    with pytest.raises(Undecodable):
        await workshop(memory_bytes=200 * MIB).inspect_picture(path)
    assert (await workshop().inspect_picture(path)).width == 1920


@given(st.sampled_from([b"", PNG_SIGNATURE, JPEG_SIGNATURE, *GIF_SIGNATURES]), st.binary(max_size=400))
def test_noise_is_refused_and_breaks_nothing(start: bytes, rest: bytes) -> None:
    try:
        outline(start + rest, frames_max=10)
    except tuple(PICTURE_REFUSALS.values()):
        return


@given(st.integers(0, 10_000), st.sampled_from(["PNG", "JPEG", "GIF"]))
def test_a_picture_that_was_cut_is_refused(cut: int, format_: str) -> None:
    data = encoded(Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 10), format_)
    with pytest.raises((Undecodable, FormatUnsupported)):
        outline(data[: cut % len(data)], frames_max=10)


@given(st.integers(1, 5_000), st.integers(1, 5_000))
def test_shapes(width: int, height: int) -> None:
    aspects = [16 / 9, 4 / 3, 1.0]
    good = min(width, height) >= 1080 and any(abs(width / height / aspect - 1) <= 0.01 for aspect in aspects)
    try:
        require_shape(width, height)
    except (TooSmall, AspectUnsupported):
        assert not good
    else:
        assert good


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=WAVE_DISTANCE_MAX))
def test_looks_that_resemble_share_a_band(wave: int, flipped: set[int]) -> None:
    other = wave
    for bit in flipped:
        other ^= 1 << bit
    edges = "0" * 64
    one, two = Look(f"{wave:016x}", edges), Look(f"{other:016x}", edges)
    assert one.resembles(two)
    assert len(one.bands()) == BANDS
    assert set(one.bands()) & set(two.bands())
