"""How PNG, JPEG and GIF files are built, read without decoding a pixel.

Decoders are forgiving: they take what they need and leave the rest alone. What they would overlook is caught
here: files that go on behind their end (a script or an archive riding along), image data that is more or less
than the header says, thousands of frames. Work is bounded by the file's length.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.content.domain.failures import FormatUnsupported, TooManyFrames, Undecodable

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
GIF_SIGNATURES = (b"GIF87a", b"GIF89a")

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column, first row, column step, row step of each pass.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATE_PIECE_BYTES = 1 << 18
_JPEG_SIZE_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_BARE_MARKERS = {0x01, *range(0xD0, 0xD8)}
_JPEG_END = 0xD9
_JPEG_SCAN = 0xDA


class PictureFormat(StrEnum):
    """Formats that are taken, by their names in decoders."""

    PNG = "PNG"
    JPEG = "JPEG"
    GIF = "GIF"

    @property
    def mime(self) -> str:
        """As in HTTP."""
        return f"image/{self.value.lower()}"


@dataclass(frozen=True, slots=True)
class Outline:
    """What a file says of itself: size in pixels as stored, frames, and where its (first) picture ends."""

    format: PictureFormat
    width: int
    height: int
    end: int
    frames: int = 1


def format_of(data: bytes) -> PictureFormat:
    """The format by the first bytes. Raises FormatUnsupported."""
    if data.startswith(PNG_SIGNATURE):
        return PictureFormat.PNG
    if data.startswith(JPEG_SIGNATURE):
        return PictureFormat.JPEG
    if data.startswith(GIF_SIGNATURES):
        return PictureFormat.GIF
    raise FormatUnsupported


def outline(data: bytes, *, frames_max: int) -> Outline:
    """The file's outline, its size a promise. Raises FormatUnsupported, Undecodable, TooManyFrames."""
    try:
        match format_of(data):
            case PictureFormat.PNG:
                return _png(data)
            case PictureFormat.JPEG:
                return _jpeg(data)
            case PictureFormat.GIF:
                return _gif(data, frames_max)
    except (IndexError, struct.error) as problem:
        raise Undecodable("the file ends too early") from problem


def require_exact_data(data: bytes, found: Outline) -> None:
    """Raises Undecodable unless a PNG's image data is exactly as much as its header says.

    Call it after the pixels are known to be few enough: it unpacks that much, piece by piece.
    """
    if found.format is not PictureFormat.PNG:
        return
    _, _, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    expected = _png_data_bytes(found.width, found.height, depth * _PNG_CHANNELS[colour], interlace)
    inflate, unpacked = zlib.decompressobj(), 0
    try:
        for kind, start, end in _png_chunks(data):
            piece = data[start:end] if kind == b"IDAT" else b""
            while piece and unpacked <= expected:
                unpacked += len(inflate.decompress(piece, _INFLATE_PIECE_BYTES))
                piece = inflate.unconsumed_tail
    except zlib.error as problem:
        raise Undecodable("the image data is damaged") from problem
    if unpacked != expected or not inflate.eof:
        raise Undecodable("the image data is not what the header says", expected_bytes=expected)


def _png(data: bytes) -> Outline:
    width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if (
        data[12:16] != b"IHDR"
        or colour not in _PNG_CHANNELS
        or depth not in (1, 2, 4, 8, 16)
        or interlace > 1
    ):
        raise Undecodable("no valid PNG header")
    for kind, start, end in _png_chunks(data):
        if kind == b"acTL":
            raise TooManyFrames("animated PNG is not taken", frames="several", maximum=1)
        if zlib.crc32(data[start - 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise Undecodable("a chunk is damaged")
        if kind == b"IEND" and end + 4 != len(data):
            raise Undecodable("the file goes on behind its end")
    return Outline(PictureFormat.PNG, width, height, len(data))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the data of each chunk, to IEND."""
    at = len(PNG_SIGNATURE)
    while True:
        (length,) = struct.unpack_from(">I", data, at)
        kind, start, end = data[at + 4 : at + 8], at + 8, at + 8 + length
        if end + 4 > len(data):
            raise Undecodable("the file ends too early")
        yield kind, start, end
        if kind == b"IEND":
            return
        at = end + 4


def _png_data_bytes(width: int, height: int, bits: int, interlace: int) -> int:
    """Bytes of the unpacked image data: each row is led by a byte that names its filter."""
    if not interlace:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for column, row, column_step, row_step in _ADAM7:
        columns = max(0, -(-(width - column) // column_step))
        rows = max(0, -(-(height - row) // row_step))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def _jpeg(data: bytes) -> Outline:
    size, at = None, 2
    while True:
        marker, at = _next_marker(data, at)
        if marker == _JPEG_END:
            break
        if marker in _JPEG_BARE_MARKERS:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _JPEG_SIZE_MARKERS and size is None:
            size = struct.unpack_from(">HH", data, at + 3)
        at += length
        if marker == _JPEG_SCAN:
            at = _scan_end(data, at)
    if size is None:
        raise Undecodable("no frame in the JPEG")
    # Cameras append further pictures (previews, gain maps) behind the first, and pad with zeros.
    rest = data[at:].lstrip(b"\0")
    if rest and not rest.startswith(JPEG_SIGNATURE):
        raise Undecodable("the file goes on behind its end")
    return Outline(PictureFormat.JPEG, size[1], size[0], at)


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    if data[at] != 0xFF:
        raise Undecodable("the JPEG has data between its segments")
    while data[at] == 0xFF:
        at += 1
    return data[at], at + 1


def _scan_end(data: bytes, at: int) -> int:
    """Where the scan's data ends: at a marker that is neither a stuffed byte nor a restart."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            raise Undecodable("the file ends too early")
        follower = data[at + 1]
        if follower == 0xFF:
            at += 1
        elif follower == 0 or follower in _JPEG_BARE_MARKERS:
            at += 2
        else:
            return at


def _gif(data: bytes, frames_max: int) -> Outline:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames = 13 + _colour_table_bytes(flags), 0
    while True:
        match data[at]:
            case 0x3B:
                break
            case 0x21:
                at = _sub_blocks_end(data, at + 2)
            case 0x2C:
                frames += 1
                if frames > frames_max:
                    raise TooManyFrames(frames=f"more than {frames_max}", maximum=frames_max)
                _require_inside(struct.unpack_from("<HHHH", data, at + 1), width, height)
                at = _sub_blocks_end(data, at + 11 + _colour_table_bytes(data[at + 9]))
            case _:
                raise Undecodable("the GIF has data between its blocks")
    if at + 1 != len(data):
        raise Undecodable("the file goes on behind its end")
    if frames == 0:
        raise Undecodable("no frame in the GIF")
    return Outline(PictureFormat.GIF, width, height, at + 1, frames)


def _require_inside(frame: tuple[int, ...], width: int, height: int) -> None:
    # Decoders would grow the picture beyond what its header promised.
    left, top, across, down = frame
    if left + across > width or top + down > height:
        raise Undecodable("a frame lies outside of the picture")


def _colour_table_bytes(flags: int) -> int:
    return 3 * (2 << (flags & 0x07)) if flags & 0x80 else 0


def _sub_blocks_end(data: bytes, at: int) -> int:
    while length := data[at]:
        at += 1 + length
    return at + 1
