"""Pictures that must be refused, for tests and for the demo. All are cheap to make, some dear to read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from sandbox.pictures.meme import Aspect, PictureFormat, draw_meme, meme_bytes

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY_8_BIT = (8, 0)
BLOCK_BYTES = 1 << 20
ADLER_MODULUS = 65521
KEPT_OF_TRUNCATED = 0.6


@dataclass(frozen=True, slots=True)
class BadPicture:
    """`name` as a file would be called; `what` says what is wrong with it."""

    name: str
    what: str
    data: bytes


def too_small(seed: int = 0) -> BadPicture:
    """The right shape at 960 by 540."""
    return BadPicture("small.png", "shorter side of 540 px", _png(draw_meme(seed, shorter_side_px=540)))


def wrong_aspect(seed: int = 0) -> BadPicture:
    """21:9, large enough."""
    wide = draw_meme(seed).resize((2520, 1080))
    return BadPicture("wide.png", "aspect 21:9", _png(wide))


def truncated(seed: int = 0) -> BadPicture:
    """A good JPEG that ends too early."""
    whole = meme_bytes(seed, Aspect.WIDE, PictureFormat.JPEG)
    return BadPicture("cut.jpg", "ends in the middle", whole[: int(len(whole) * KEPT_OF_TRUNCATED)])


def wrong_magic(seed: int = 0) -> BadPicture:
    """A good picture whose first bytes are another format's."""
    data = b"GIF89a" + meme_bytes(seed, Aspect.WIDE, PictureFormat.JPEG)[6:]
    return BadPicture("masked.gif", "says GIF, is JPEG", data)


def not_a_picture() -> BadPicture:
    """A web page under a picture's name."""
    page = b"<!doctype html><script>alert(1)</script>"
    return BadPicture("page.png", "HTML", page)


def decompression_bomb() -> BadPicture:
    """A valid 16:9 PNG of 512 million grey pixels in half a megabyte: it must be refused by its header."""
    width, height = 30_208, 16_992
    return BadPicture("bomb.png", "0.5 gigapixel in 0.5 MB", _zeros_png(width, height, height))


def lying_header() -> BadPicture:
    """The header says 1920 by 1080, the data holds forty times as many rows."""
    return BadPicture("lying.png", "more data than the header says", _zeros_png(1920, 1080, 1080 * 40))


def tall_header() -> BadPicture:
    """The header promises 2,000,000 rows, the data holds 1080."""
    return BadPicture("tall.png", "2,000,000 rows announced", _zeros_png(1080, 2_000_000, 1080))


BAD_PICTURES: tuple[Callable[[], BadPicture], ...] = (
    too_small,
    wrong_aspect,
    truncated,
    wrong_magic,
    not_a_picture,
    decompression_bomb,
    lying_header,
    tall_header,
)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _zeros_png(width: int, height: int, rows: int) -> bytes:
    """A grey PNG whose header says `width` by `height`, with `rows` rows of black in it."""
    header = struct.pack(">IIBBBBB", width, height, *GREY_8_BIT, 0, 0, 0)
    data = b"".join(_deflated_zeros((width + 1) * rows))
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return PNG_SIGNATURE + b"".join(chunks)


def _deflated_zeros(count: int) -> Iterator[bytes]:
    """A zlib stream of `count` zero bytes: one block is compressed, and then repeated."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(BLOCK_BYTES)) + deflate.flush(zlib.Z_FULL_FLUSH)
    yield b"\x78\xda"
    yield block * (count // BLOCK_BYTES)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    yield rest.compress(bytes(count % BLOCK_BYTES)) + rest.flush()
    # Adler-32 of zeros: the first sum stays 1, the second counts the bytes.
    yield struct.pack(">HH", count % ADLER_MODULUS, 1)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
