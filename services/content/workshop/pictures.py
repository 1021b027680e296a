"""Decodes a picture whole and describes it. Runs in the workshop's process only."""

from __future__ import annotations

import io
import warnings

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, ImageSequence, UnidentifiedImageError

from mesh.errors import Failure
from services.content.domain.containers import Outline, PictureFormat, outline, require_exact_data
from services.content.domain.failures import Undecodable
from services.content.domain.looks import Look
from services.content.domain.pictures import Inspection, PictureBounds, require_bearable, require_shape

# Pillow calls a JPEG with further pictures behind it MPO.
_PILLOW_FORMATS = {
    PictureFormat.PNG: ("PNG",),
    PictureFormat.JPEG: ("JPEG", "MPO"),
    PictureFormat.GIF: ("GIF",),
}
WAVE_SIDE, WAVE_SAMPLE = 8, 32
EDGE_SIDE = 16

Grey = NDArray[np.float32]


def inspect(data: bytes, bounds: PictureBounds) -> Inspection:
    """What the picture is. Raises the failures of PICTURE_REFUSALS; MemoryError when it needs too much."""
    found = outline(data, frames_max=bounds.frames_max)
    require_bearable(found, bounds)
    require_exact_data(data, found)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = bounds.pixels_max
    with warnings.catch_warnings():
        # Pillow only warns of a picture up to twice its bound.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            _require_whole_jpeg(data, found)
            return _decoded(data, found.format, (found.width, found.height))
        except (Failure, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
            raise Undecodable("the picture unpacks to too much") from problem
        except UnidentifiedImageError as problem:
            # Its own words name an object in our memory.
            raise Undecodable("the picture cannot be decoded: no decoder takes it") from problem
        except (OSError, ValueError, SyntaxError, EOFError) as problem:
            raise Undecodable(f"the picture cannot be decoded: {_first_line(problem)}") from problem
        except Exception as problem:  # decoders fail in many ways on hostile input, and all mean the same
            raise Undecodable("the picture cannot be decoded") from problem


def _require_whole_jpeg(data: bytes, found: Outline) -> None:
    """Refuses a JPEG with less in it than its header says: Pillow's decoder would fill that up with grey."""
    if found.format is not PictureFormat.JPEG:
        return
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode+crccheck+bitstream+buffer"}
    decoder.thread_count = 1
    try:
        decoder.decode(av.Packet(data[: found.end]))
        decoder.decode(None)
    except av.error.InvalidDataError as problem:
        raise Undecodable("the image data is not what the header says") from problem
    except av.FFmpegError:
        # A rare kind of JPEG that this decoder does not know: Pillow's word counts alone.
        return


def _decoded(data: bytes, format_: PictureFormat, promised: tuple[int, int]) -> Inspection:
    with Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS[format_]) as image:
        if image.size != promised:
            raise Undecodable("the decoder sees another size than the header says")
        # In place: of the largest pictures there is no room for a copy.
        ImageOps.exif_transpose(image, in_place=True)
        width, height = image.size
        require_shape(width, height)
        look = _look(image)
        if format_ is PictureFormat.GIF:
            for frame in ImageSequence.Iterator(image):
                frame.load()
        return Inspection(format_.mime, width, height, look)


def _look(image: Image.Image) -> Look:
    grey = np.asarray(_flat(image).convert("L"), np.float32)
    return Look(_wave_hash(grey), _edge_hash(grey))


def _flat(image: Image.Image) -> Image.Image:
    """What is transparent shows as white, whatever colour stands beneath it."""
    if not image.has_transparency_data:
        # Four times the memory, for nothing.
        return image if image.mode in {"L", "RGB"} else image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _wave_hash(grey: Grey) -> str:
    """pHash: signs of the 8 by 8 lowest frequencies against their median."""
    small = cv2.resize(grey, (WAVE_SAMPLE, WAVE_SAMPLE), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(small)[:WAVE_SIDE, :WAVE_SIDE]
    return _hex(waves > np.median(waves))


def _edge_hash(grey: Grey) -> str:
    """dHash: whether brightness grows from each of 16 by 16 fields to its neighbour on the right."""
    small = cv2.resize(grey, (EDGE_SIDE + 1, EDGE_SIDE), interpolation=cv2.INTER_AREA)
    # A clear step, so that flat areas do not decide by noise.
    return _hex(small[:, 1:] > small[:, :-1] + 1)


def _hex(bits: NDArray[np.bool_]) -> str:
    return np.packbits(bits).tobytes().hex()


def _first_line(problem: Exception) -> str:
    return (str(problem) or type(problem).__name__).partition("\n")[0][:120]
